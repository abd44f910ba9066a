"""What methods and optimisers refuse, named before the runs that their cells would wait for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from tsdtp.cli.config import ConfigError, instantiate
from tsdtp.cli.planned import Planned, to_run

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def check_pruners(cells: Sequence[Planned]) -> None:
    """Builds pruner and optimiser of every cell that waits for others, and throws them away.

    Other cells say at once themselves what is wrong with them, and so does one whose model is not
    found.

    Args:
        cells: of a plan.

    Raises:
        ConfigError: for what a method or an optimiser refuses, for blocks that the model does not
            have, or for an unknown way to execute, pool or attend.
    """
    models: dict[str, dict[str, Planned]] = {}
    for cell in to_run(cells):
        if cell.after:
            model = _key(cell.settings["model"])
            parts = _key([cell.settings.get(part) for part in ("pruning", "optim")])
            models.setdefault(model, {})[parts] = cell
    for methods in models.values():
        _check_methods([*methods.values()])


def _check_methods(cells: Sequence[Planned]) -> None:
    """The same of cells of one model, whose architecture is looked for once."""
    configs = [OmegaConf.create(dict(cell.settings)) for cell in cells]
    shape = found_shape(configs[0].model)
    for cell, config in zip(cells, configs, strict=True):
        try:
            check_built(config, shape)
        except ValueError as error:
            raise ConfigError(f"{cell.name}: {error}") from error


def found_shape(model: DictConfig) -> PreTrainedConfig | None:
    """The architecture that the `model` node of a config names; None where nothing is found."""
    from tsdtp.cli.pruner import load_shape  # torch, which takes seconds

    try:
        return load_shape(model)
    except ValueError:
        return None


def check_built(config: DictConfig, shape: PreTrainedConfig | None) -> None:
    """Builds pruner and optimiser of a run, and throws them away.

    Args:
        config: of the run.
        shape: of its model; None, where that is not found: the run says so itself.

    Raises:
        ValueError: for what is refused, see `check_pruners`.
    """
    from tsdtp.cli.pruner import pruner_of
    from tsdtp.models.pruned import check_settings

    if shape is None:
        return
    model = config.model
    check_settings(model.execution, model.pooling, model.attention)
    if "optim" in config:  # none of a benchmark
        instantiate(config.optim)
    pruner_of(config, shape)


def _key(settings: Any) -> str:
    """Equal for settings that differ in nothing."""
    return json.dumps(settings, sort_keys=True)
