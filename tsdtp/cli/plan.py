"""From the overrides of a multirun to its cells: what they are and which of them have to run."""

from __future__ import annotations

import copy
import os
import statistics
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from tsdtp.cli.check import seedless
from tsdtp.cli.check_training import check_training
from tsdtp.cli.check_values import check_filled
from tsdtp.cli.config import ConfigError, plain
from tsdtp.cli.identity import (
    Settings,
    Status,
    cell_identity,
    changed,
    inspect_run,
    other_teachers,
    start_path,
)
from tsdtp.cli.other_code import other_code
from tsdtp.provenance import code_state
from tsdtp.results import RunRecord


@dataclass(frozen=True)
class Planned:
    """One cell.

    Attributes:
        overrides: that make it.
        settings: the resolved config.
        method: name of the pruning config.
        status: of what lies in its folder.
        record: that lies there, if it can be read.
        after: names of the cells of this plan that it starts from or learns from.
        twins: other overrides that make the same cell.
    """

    overrides: tuple[str, ...]
    settings: Settings
    method: str
    status: Status
    record: RunRecord | None = None
    after: tuple[str, ...] = ()
    twins: tuple[tuple[str, ...], ...] = ()

    @property
    def name(self) -> str:
        """The run's place among all runs."""
        return self.settings["run_id"]

    @property
    def folder(self) -> Path:
        """Where its record goes."""
        return Path(os.path.relpath(self.settings["output_dir"]))

    @property
    def command(self) -> list[str]:
        """Arguments of its `tsdtp train`; what lies in its folder was looked at before."""
        return [*self.overrides, *([] if self.status is Status.MISSING else ["overwrite=true"])]

    @property
    def seconds(self) -> float | None:
        """That it took when it ran, in all its parts; None before, or for older records."""
        made = self.record.provenance if self.record else {}
        if made.get("seconds") is None:
            return None
        return sum(part["seconds"] for part in (*made.get("earlier", ()), made))

    def cell(self) -> dict[str, Any]:
        """What `sweep.json` says of it."""
        return cell_identity(self.settings, self.method)


def make_plan(
    jobs: Iterable[Sequence[str]], compose: Callable[[list[str]], DictConfig]
) -> list[Planned]:
    """Composes every job and looks at what is already there; those to start from come first.

    Args:
        jobs: the overrides of each.
        compose: makes a config, Hydra's own part included, from overrides.

    Raises:
        ConfigError: if two jobs that differ have one name, or a cell would start from itself.
    """
    code, once = code_state(), cache(lambda rest: compose([*rest]))
    planned: dict[str, Planned] = {}
    for overrides in jobs:
        rest, seed = seedless(overrides)
        config = copy.deepcopy(once(tuple(rest)))
        if seed is not None:
            config.seed = seed
        settings, method = _resolve(config)
        name = settings["run_id"]
        if name in planned and settings == planned[name].settings:
            twins = (*planned[name].twins, tuple(overrides))
            planned[name] = replace(planned[name], twins=twins)
            continue
        if name in planned:
            raise ConfigError(f"two cells of this sweep would be {name}; give one a `variant`")
        status, record = inspect_run(settings, code)
        planned[name] = Planned(tuple(overrides), settings, method, status, record)
    folders = {cell.folder.resolve(): cell.name for cell in planned.values()}
    linked = {name: _link(cell, folders) for name, cell in planned.items()}
    return _restart([linked[name] for name in _in_order(linked.values())])


def _resolve(config: DictConfig) -> tuple[Settings, str]:
    sweep = config.hydra.sweep
    HydraConfig.instance().set_config(config)
    with read_write(config.hydra.runtime), open_dict(config.hydra.runtime):
        config.hydra.runtime.output_dir = str(Path(sweep.dir, sweep.subdir).absolute())
    HydraConfig.instance().set_config(config)
    method = config.hydra.runtime.choices.pruning
    task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    check_filled(task)
    if "teacher" in task:
        check_training(task)
    return plain(task), method


def _link(cell: Planned, folders: dict[Path, str]) -> Planned:
    start = start_path(cell.settings)
    teachers = [*([start] if start else []), *other_teachers(cell.settings)]
    names = [folders[path.resolve()] for path in teachers if path.resolve() in folders]
    return replace(cell, after=tuple(names))


def starts_first(cells: Collection[Planned]) -> TopologicalSorter[str]:
    """The names of cells, each to come after those of them that it starts or learns from."""
    names = [cell.name for cell in cells]
    sorter = TopologicalSorter(dict.fromkeys(names, ()))
    for cell in cells:
        sorter.add(cell.name, *(name for name in cell.after if name in names))
    return sorter


def _in_order(cells: Collection[Planned]) -> list[str]:
    """Their names; refuses cells that would wait for themselves, for ever."""
    try:
        return [*starts_first(cells).static_order()]
    except CycleError as error:
        raise ConfigError(
            f"{min(error.args[1])} would start or learn from itself; valid for model.init_from and "
            "teacher.others: runs that do not come from it (of an unpruned run: null)"
        ) from None


def _restart(cells: list[Planned]) -> list[Planned]:
    """Finished cells have to follow those that they come from, where these run again."""
    again: set[str] = set()
    followed = []
    for cell in cells:
        if not _runs(cell) and again & set(cell.after):
            cell = replace(cell, status=Status.RESTARTED)
        if _runs(cell):
            again.add(cell.name)
        followed.append(cell)
    return followed


_TO_RUN = (Status.MISSING, Status.CHANGED, Status.RESTARTED, Status.DAMAGED)


def to_run(cells: Sequence[Planned]) -> list[Planned]:
    """The cells that have to run."""
    return [cell for cell in cells if _runs(cell)]


def _runs(cell: Planned) -> bool:
    asked = cell.status is Status.OTHER_CODE and cell.settings["changed_code"] == "rerun"
    return cell.status in _TO_RUN or asked or cell.settings["overwrite"]


def is_dry(cells: Sequence[Planned]) -> bool:
    """Whether the cells are only to be listed."""
    return any(cell.settings["dry_run"] for cell in cells)


def check_agreed(cells: Sequence[Planned]) -> None:
    """Stops where nobody has agreed to what becomes of finished cells.

    Raises:
        ConfigError: where new ones of other settings would replace them, or of other code would be
            mixed with them; names what differs and the ways to go on.
    """
    if lost := [cell for cell in cells if cell.status is Status.CHANGED and not _agreed(cell)]:
        first = lost[0]
        made = first.record.provenance["config"] if first.record else {}
        raise ConfigError(
            f"{len(lost)} finished cells have other settings, as {first.name}"
            f"{changed(made, first.settings)}: changed_settings=rerun replaces them, "
            "variant=NAME or another folder keeps both"
        )
    asking = [
        cell
        for cell in cells
        if cell.status is Status.OTHER_CODE
        and cell.settings["changed_code"] != "keep"
        and not _runs(cell)
    ]
    if asking:
        raise ConfigError(other_code(asking[0].record, f"{len(asking)} finished cells come"))


def _agreed(cell: Planned) -> bool:
    return cell.settings["changed_settings"] == "rerun" or cell.settings["overwrite"]


def expected_seconds(cell: Planned, cells: Sequence[Planned]) -> float | None:
    """Median duration of the most similar cells that have run; None if there are none."""
    timed = [(other, other.seconds) for other in cells if other.seconds is not None]
    for key in (lambda c: (_group(c), c.method), _group):
        alike = [seconds for other, seconds in timed if key(other) == key(cell)]
        if alike:
            return statistics.median(alike)
    return None


def _group(cell: Planned) -> tuple[str, str]:
    return cell.settings["task"]["name"], cell.settings["model"]["name"]
