"""A run's pruner, and the architecture that it has to fit."""

from __future__ import annotations

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedConfig

from tsdtp.cli.config import ConfigError, instantiate
from tsdtp.models.loading import load_config
from tsdtp.models.prune import check_blocks
from tsdtp.pruning import TokenPruner


def load_shape(model: DictConfig, num_labels: int | None = None) -> PreTrainedConfig:
    """The architecture that the `model` node of a config names.

    Args:
        model: the node.
        num_labels: classes; None where nothing is classified.

    Raises:
        ValueError: if nothing is found there.
    """
    settings = None
    if model.config is not None:
        settings = cast(dict[str, Any], OmegaConf.to_container(model.config))
        settings["vocab_size"] = model.vocab_size
    return load_config(model.path, settings, num_labels, model.local_dir)


def pruner_of(config: DictConfig, shape: PreTrainedConfig, most: int | None = None) -> TokenPruner:
    """The pruner of a run.

    Args:
        config: of the run.
        shape: as `load_shape` gives it.
        most: blocks that the run to start from computes; None: all.

    Raises:
        ConfigError: for what the method refuses, or for blocks that are not there.
    """
    wanted = config.model.get("blocks")
    blocks = check_blocks(wanted, shape.num_hidden_layers)
    if most is not None and blocks > most:
        raise ConfigError(
            f"model.blocks={wanted}: the run to start from computes {most} blocks; "
            f"valid are 1 to {most}"
        )
    pruner = instantiate(config.pruning, num_layers=blocks, hidden_size=shape.hidden_size)
    return cast(TokenPruner, pruner)
