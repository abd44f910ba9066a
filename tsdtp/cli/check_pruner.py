"""What pruning methods refuse, named before the runs that their cells would wait for."""

from __future__ import annotations

import json
from collections.abc import Sequence

from omegaconf import OmegaConf

from tsdtp.cli.config import ConfigError
from tsdtp.cli.planned import Planned, to_run


def check_pruners(cells: Sequence[Planned]) -> None:
    """Builds the pruner of every cell that waits for others, and throws it away.

    Other cells say at once themselves what is wrong with them, and so does one whose model is not
    found.

    Args:
        cells: of a plan.

    Raises:
        ConfigError: for what a method refuses, or for blocks that the model does not have.
    """
    waiting = {_parts(cell): cell for cell in to_run(cells) if cell.after}
    if not waiting:
        return
    from tsdtp.cli.pruner import build_pruner, load_shape  # torch, which takes seconds

    for cell in waiting.values():
        config = OmegaConf.create(dict(cell.settings))
        try:
            shape = load_shape(config.model)
        except ValueError:
            continue
        try:
            build_pruner(config, shape)
        except ValueError as error:
            raise ConfigError(f"{cell.name}: {error}") from error


def _parts(cell: Planned) -> str:
    """What a pruner is made of; cells that differ in nothing of it need one look."""
    return json.dumps([cell.settings[part] for part in ("model", "pruning")], sort_keys=True)
