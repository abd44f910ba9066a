"""`tsdtp sweep`: every cell of a preset, then its tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from filelock import AcquireReturnProxy
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from tsdtp.cli.checks.command import check_command
from tsdtp.cli.checks.composing import parse
from tsdtp.cli.checks.keys import unknown_key
from tsdtp.cli.checks.values import check_choice
from tsdtp.cli.config import HYDRA_VERSION_BASE, ConfigError, as_text, config_dir, quoted
from tsdtp.cli.folder import take_lock
from tsdtp.cli.presets import load_preset, user_folder
from tsdtp.cli.usage import described, exit_with, wants_help

LOCK_NAME = ".sweep.lock"
_KEYS = ("command", "common", "grids")  # of a preset
_USAGE = """\
usage: tsdtp sweep sweep=NAME|FILE.yaml [dir=FOLDER] [KEY=VALUE ...]

Runs the cells of a preset, or of a file like one, that have not run yet; then prints their tables.
  dir=FOLDER         of all cells; default: outputs/sweeps/NAME
  dry_run=true       only list the cells, which are done, and how long the rest may take
  KEY=VALUE[,VALUE]  of every cell, as `tsdtp train` takes it; replaces the preset's values
Example: tsdtp sweep sweep=afternoon seed=0"""


def load_sweep(name: str) -> DictConfig:
    """Reads configs/sweep/NAME.yaml, or a file of the user's own; one value may stand for a list.

    Raises:
        ConfigError: for an unknown name, with the valid ones, or a file of another form.
    """
    sweep: Any = OmegaConf.to_container(load_preset("sweep", name))
    for key in (key for key in sweep if key not in _KEYS):
        raise ConfigError(f"sweep={name}: {unknown_key(key, _KEYS)}")
    check_choice(f"sweep={name}: command", sweep.get("command", "train"), ("train", "bench"))
    common, found = (_listed(sweep.get(key) or []) for key in ("common", "grids"))
    if not all(isinstance(override, str) for override in common):
        raise ConfigError(f"sweep={name}: common is {common}; valid: [KEY=VALUE, ...]")
    if not found or not all(isinstance(grid, Mapping) for grid in found):
        raise ConfigError(f"sweep={name}: grids is {found}; valid: [{{KEY: [VALUE, ...], ...}}]")
    grids = [{key: _listed(values) for key, values in grid.items()} for grid in found]
    return DictConfig({**sweep, "common": common, "grids": grids})


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def grids(sweep: DictConfig, overrides: Sequence[str]) -> list[list[str]]:
    """For each grid the arguments of the `tsdtp train -m` that runs it; the user's come last."""
    return [
        [
            *sweep.common,
            *(f"{key}={','.join(map(as_text, values))}" for key, values in grid.items()),
            *overrides,
        ]
        for grid in sweep.grids
    ]


def expand(sweep: DictConfig, overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of every cell; a key that the user sets replaces the grid's values."""
    return [job for grid in grids(sweep, overrides) for job in product(grid)]


def product(overrides: Sequence[str]) -> list[list[str]]:
    """Every combination of the values of overrides; of two for one key the later counts.

    Raises:
        ConfigError: for a pattern, `glob(...)`, where Hydra is not initialised.
    """
    try:
        return BasicSweeper.split_arguments(parse(overrides), None)[0]
    except HydraException as error:  # a pattern, outside of a multirun
        names = "valid here: the names of options, and no pattern"
        raise ConfigError(f"{' '.join(overrides)}: {names}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """`tsdtp sweep sweep=NAME|FILE.yaml [dir=FOLDER] [dry_run=true] [OVERRIDE ...]`.

    Returns:
        0, or 1 if a cell failed (the tables then show its gap), or 2 for a wrong command line, or
        where the tables cannot be written.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if wants_help(arguments):
        print(f"{_USAGE}\n\nPresets (configs/sweep):\n{described('sweep')}")
        return 0
    own = dict(a.split("=", 1) for a in arguments if a.startswith(("sweep=", "dir=")))
    overrides = [a for a in arguments if not a.startswith(("sweep=", "dir="))]
    try:
        if "sweep" not in own:
            raise ConfigError("which sweep? for example: tsdtp sweep sweep=smoke")
        name = own["sweep"]
        preset = load_sweep(name)
        for grid in grids(preset, overrides):
            check_command(command_of(preset), grid)
        folder = Path(own.get("dir", f"outputs/sweeps/{Path(name).stem}"))
        with sweep_lock(folder):
            code = _run(name, command_of(preset), folder, overrides)
            if not _is_dry(overrides) and code in (0, 1):
                # Here, for Hydra loads this file in every process, and the figures take seconds.
                from tsdtp.cli import report

                if told := report.main([str(folder)]):
                    return code or told
                _to_wandb(name, folder, overrides)
    except ConfigError as error:
        exit_with(error, "tsdtp sweep")
    return code


def _is_dry(overrides: Sequence[str]) -> bool:
    asked = parse([override for override in overrides if override.startswith("dry_run=")])
    return any(override.value() is True for override in asked)


def command_of(sweep: DictConfig) -> str:
    """The command of `tsdtp` that runs a cell: `train`, or `bench` where the preset says so."""
    return sweep.get("command", "train")


def sweep_lock(folder: Path) -> AcquireReturnProxy:
    """Takes the folder for this sweep.

    Raises:
        ConfigError: if another sweep has it.
    """
    busy = f"another sweep is running in {folder}; wait for it, or use dir=FOLDER"
    return take_lock(folder / LOCK_NAME, busy)


def _run(name: str, command: str, folder: Path, overrides: Sequence[str]) -> int:
    """The multirun, in this process; its cells run in others."""
    program = import_module(f"tsdtp.cli.{command}")
    sweeper = ["hydra/sweeper=grids", f"hydra.sweeper.preset={quoted(name)}"]
    sweeper += [f"hydra.sweep.dir={quoted(folder)}"]
    sys.argv[1:] = ["-m", *sweeper, *overrides]
    os.environ["TSDTP_SWEEP"] = Path(name).stem
    try:
        program.main()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        del os.environ["TSDTP_SWEEP"]
    return 0


def _to_wandb(name: str, folder: Path, overrides: Sequence[str]) -> None:
    """The sweep's tables and plots, where its cells log to Weights & Biases."""
    preset = load_sweep(name)
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        options, _ = get_args_parser().parse_known_args(overrides)
        cell = expand(preset, options.overrides)[0]
        config = compose(command_of(preset), [*user_folder(options.config_dir), *cell])
    if node := (config.get("logger") or {}).get("wandb"):
        from tsdtp.cli.tracking import log_sweep

        log_sweep(folder, Path(name).stem, node.project, node.offline)


if __name__ == "__main__":
    sys.exit(main())
