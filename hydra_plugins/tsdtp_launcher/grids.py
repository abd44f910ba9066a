"""`hydra/sweeper=grids`: the grids of a preset in configs/sweep/ as one multirun."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tsdtp.atomic import write_atomic
from tsdtp.cli.checks.composing import first_line
from tsdtp.cli.config import ConfigError
from tsdtp.cli.launch import check_ready, listing
from tsdtp.cli.plan import make_plan, starts_first
from tsdtp.cli.planned import Planned, is_dry, to_run
from tsdtp.cli.sweep import expand, load_sweep
from tsdtp.cli.usage import exit_with
from tsdtp.jobs.job import Job, State
from tsdtp.report.sweep import SWEEP_NAME, trained


@runtime_checkable
class RunsPlans(Protocol):
    """A launcher that takes a plan as a whole. Hydra loads a plugin twice, so no class will do."""

    def check_plan(self, cells: Sequence[Planned]) -> None:
        """Raises ConfigError where the machine has no place for it."""
        ...

    def run_plan(self, cells: Sequence[Planned]) -> list[Job]:
        """Runs it."""
        ...


class GridsSweeper(Sweeper):
    """Runs every cell of a preset; with any launcher, cells run after the ones they start from.

    Args:
        preset: name of a file in configs/sweep/, or the path of another one.
    """

    def __init__(self, preset: str) -> None:
        self.preset = preset

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's way to hand things over."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Plans the cells, notes them in sweep.json, runs them; exits with 1 if any failed."""
        loader, master = self.hydra_context.config_loader, self.config
        try:
            jobs = expand(load_sweep(self.preset), arguments)
            cells = make_plan(jobs, lambda o: loader.load_sweep_config(master, o))
            if not is_dry(cells):
                check_ready(cells)
                if isinstance(self.launcher, RunsPlans):  # what is refused shall replace nothing
                    self.launcher.check_plan(cells)
                self._write_manifest(cells, arguments)
            failed = self._run(cells)
        except ConfigError as error:
            exit_with(error, "tsdtp sweep")
        if failed:
            sys.exit(1)

    def _write_manifest(self, cells: Sequence[Planned], arguments: list[str]) -> None:
        folder = self.config.hydra.sweep.dir
        words = ["tsdtp", "sweep", f"sweep={self.preset}", f"dir={folder}", *arguments]
        manifest: dict[str, Any] = {"name": Path(self.preset).stem, "command": shlex.join(words)}
        old = {cell.name: trained(cell.record) for cell in to_run(cells) if cell.record}
        known = [{"replaces": old[cell.name]} if cell.name in old else {} for cell in cells]
        manifest["cells"] = [c.cell() | more for c, more in zip(cells, known, strict=True)]
        write_atomic(Path(folder) / SWEEP_NAME, json.dumps(manifest, indent=2) + "\n")

    def _run(self, cells: Sequence[Planned]) -> bool:
        """Whether any cell failed."""
        if isinstance(self.launcher, RunsPlans):
            jobs = self.launcher.run_plan(cells)
            return any(job.state not in (State.DONE, State.WAITING) for job in jobs)
        if is_dry(cells):
            print(listing(cells), flush=True)
            return False
        return self._run_in_waves(to_run(cells))

    def _run_in_waves(self, cells: Sequence[Planned]) -> bool:
        """Has a launcher that knows no plan run cells after those that they start from."""
        left, sorter = {cell.name: cell for cell in cells}, starts_first(cells)
        sorter.prepare()
        failed, started = [], 0
        while wave := [left.pop(name) for name in sorter.get_ready()]:
            returned = self.launcher.launch([cell.command for cell in wave], started)
            started += len(wave)
            for cell, job in zip(wave, returned, strict=True):
                if job.status is JobStatus.COMPLETED:
                    sorter.done(cell.name)
                else:
                    failed.append(f"{cell.name}: failed: {_reason(job)}")
        failed += [f"{name}: blocked" for name in left]
        for line in failed:
            print(line, flush=True)
        return bool(failed)


def _reason(job: JobReturn) -> str:
    try:
        return str(job.return_value)
    except Exception as error:  # whatever the job has raised
        return first_line(error)
