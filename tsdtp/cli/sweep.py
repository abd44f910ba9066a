"""`tsdtp sweep`: every cell of a named sweep through Hydra's multirun, then its tables."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import DictConfig, OmegaConf

from tsdtp.cli import report
from tsdtp.cli.check import check_command, exit_with, parse
from tsdtp.cli.config import (
    HYDRA_VERSION_BASE,
    ConfigError,
    config_dir,
    register_resolvers,
    task_name,
)
from tsdtp.report.sweep import SWEEP_NAME
from tsdtp.results import write_atomic


def load_sweep(name: str) -> DictConfig:
    """Reads configs/sweep/NAME.yaml.

    Raises:
        ConfigError: for an unknown name; lists the valid ones.
    """
    folder = Path(config_dir()) / "sweep"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        valid = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ConfigError(f"no such sweep: {name}; valid: {valid}")
    return OmegaConf.load(path)  # type: ignore[return-value]


def commands(sweep: DictConfig, overrides: Sequence[str], folder: Path) -> list[list[str]]:
    """The arguments of one `tsdtp train -m` for each grid, in order."""
    return [
        [
            *("-m", f"hydra.sweep.dir={folder}"),
            *sweep.common,
            *(f"{key}={','.join(_text(v) for v in values)}" for key, values in grid.items()),
            *overrides,
        ]
        for grid in sweep.grids
    ]


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def expand(sweep: DictConfig, overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of every cell; a key that the user sets replaces the grid's values."""
    lines = [grid[1:] for grid in commands(sweep, overrides, Path("somewhere"))]
    return [job for grid in lines for job in BasicSweeper.split_arguments(parse(grid), None)[0]]


def cells(sweep: DictConfig, overrides: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What each run of the sweep will be, as `sweep.json` lists it for the report."""
    fixed = [o for o in overrides if "," not in o]
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        for grid in sweep.grids:
            for values in itertools.product(*grid.values()):
                chosen = [f"{k}={_text(v)}" for k, v in zip(grid, values, strict=True)]
                yield _cell([*sweep.common, *chosen, *fixed])


def _cell(overrides: list[str]) -> dict[str, Any]:
    config = compose("train", overrides, return_hydra_config=True)
    return {
        "task": task_name(config.task.name, config.task.data.source),
        "model": config.model.name,
        "pruning": config.hydra.runtime.choices.pruning,
        "budget": config.pruning.get("budget"),
        "variant": config.variant,
        "seed": config.seed,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """`tsdtp sweep sweep=NAME [dir=FOLDER] [OVERRIDE ...]`.

    Returns:
        0, or 1 if a cell failed (the tables then show its gap), or 2 for a wrong command line.
    """
    register_resolvers()
    arguments = list(sys.argv[1:] if argv is None else argv)
    own = dict(a.split("=", 1) for a in arguments if a.startswith(("sweep=", "dir=")))
    overrides = [a for a in arguments if not a.startswith(("sweep=", "dir="))]
    try:
        if "sweep" not in own:
            raise ConfigError("which sweep? for example: tsdtp sweep sweep=smoke")
        sweep = load_sweep(own["sweep"])
        folder = Path(own.get("dir", f"outputs/sweeps/{own['sweep']}"))
        grids = commands(sweep, overrides, folder)
        for grid in grids:
            check_command("train", grid)
        expected = list(cells(sweep, overrides))
    except ConfigError as error:
        exit_with(error, "tsdtp sweep")
    manifest = {"name": own["sweep"], "command": shlex.join(["tsdtp", "sweep", *arguments])}
    write_atomic(folder / SWEEP_NAME, json.dumps({**manifest, "cells": expected}, indent=2) + "\n")
    failed = _run(grids, own["sweep"])
    report.main([str(folder)])
    return int(failed)


def _run(grids: list[list[str]], name: str) -> bool:
    """Runs the grids one after the other; whether any cell failed."""
    environment = {**os.environ, "TSDTP_SWEEP": name}
    program = [sys.executable, "-m", "tsdtp.cli.train"]
    codes = [subprocess.run([*program, *grid], env=environment).returncode for grid in grids]
    return any(codes)


if __name__ == "__main__":
    sys.exit(main())
