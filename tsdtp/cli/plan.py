"""From the overrides of a multirun to its cells: what they are and which of them have to run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from tsdtp.cli.checks.composing import sharing
from tsdtp.cli.checks.training import check_training
from tsdtp.cli.checks.values import check_filled
from tsdtp.cli.config import ConfigError, plain
from tsdtp.cli.identity import Settings, Status, inspect_run, learnt_from
from tsdtp.cli.planned import Planned
from tsdtp.provenance import code_state


def make_plan(
    jobs: Iterable[Sequence[str]], compose: Callable[[list[str]], DictConfig]
) -> list[Planned]:
    """Composes every job and looks at what is already there; those to start from come first.

    Args:
        jobs: the overrides of each.
        compose: makes a config, Hydra's own part included, from overrides.

    Raises:
        ConfigError: if two jobs that differ have one name or one folder, or a cell would start from
            itself.
    """
    code, quickly = code_state(), sharing(compose)
    planned: dict[str, Planned] = {}
    for overrides in jobs:
        config = quickly(overrides)
        if "override_dirname" in OmegaConf.to_yaml(config.hydra.sweep):
            config = compose([*overrides])
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
    folders = _folders(planned.values())
    linked = {name: _link(cell, folders) for name, cell in planned.items()}
    return _restart([linked[name] for name in _in_order(linked.values())])


def _resolve(config: DictConfig) -> tuple[Settings, str]:
    sweep = config.hydra.sweep
    HydraConfig.instance().set_config(config)  # `${hydra:...}` reads from this copy
    runtime = cast(DictConfig, HydraConfig.get().runtime)
    with read_write(runtime), open_dict(runtime):
        runtime.output_dir = str(Path(sweep.dir, sweep.subdir).absolute())
    method = runtime.choices.pruning
    task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    check_filled(task)
    if "teacher" in task:
        check_training(task)
    return plain(task), method


def _folders(cells: Iterable[Planned]) -> dict[Path, str]:
    """The name of the cell in each folder."""
    folders: dict[Path, str] = {}
    for cell in cells:
        if (other := folders.setdefault(cell.folder.resolve(), cell.name)) != cell.name:
            raise ConfigError(f"{other} and {cell.name} would both be in {cell.folder}")
    return folders


def _link(cell: Planned, folders: dict[Path, str]) -> Planned:
    found = [path.resolve() for path in learnt_from(cell.settings)]
    names = [folders[path] for path in found if path in folders]
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
        if not cell.runs and again & set(cell.after):
            cell = replace(cell, status=Status.RESTARTED)
        if cell.runs:
            again.add(cell.name)
        followed.append(cell)
    return followed
