"""What methods and optimisers refuse, named before the runs that their cells would wait for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from tsdtp.cli.config import ConfigError, instantiate
from tsdtp.cli.planned import Planned, to_run


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
    from tsdtp.cli.pruner import load_shape, pruner_of  # torch, which takes seconds
    from tsdtp.models.pruned import check_settings

    configs = [OmegaConf.create(dict(cell.settings)) for cell in cells]
    try:
        shape = load_shape(configs[0].model)
    except ValueError:
        return
    for cell, config in zip(cells, configs, strict=True):
        try:
            model = config.model
            check_settings(model.execution, model.pooling, model.attention)
            if "optim" in config:  # none of a benchmark
                instantiate(config.optim)
            pruner_of(config, shape)
        except ValueError as error:
            raise ConfigError(f"{cell.name}: {error}") from error


def _key(settings: Any) -> str:
    """Equal for settings that differ in nothing."""
    return json.dumps(settings, sort_keys=True)
