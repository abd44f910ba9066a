"""`hydra/launcher=process`: each job of a multirun in a process and a device slot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import CompactHydraException
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from tsdtp.cli.config import ConfigError
from tsdtp.cli.identity import held_record
from tsdtp.cli.launch import launch, places_for
from tsdtp.cli.plan import make_plan
from tsdtp.cli.planned import Planned, to_run
from tsdtp.cli.usage import exit_with
from tsdtp.jobs.job import Job, State
from tsdtp.results import main_metric

LOG_NAME = "sweep.log"


class ProcessLauncher(Launcher):
    """Skips finished cells, lets cells wait for their start run, goes on after a failure.

    Args:
        slots: GPU ids or CPU cores of each slot; None: as many as the machine has room for, and of
            benchmarks one, for neighbours would disturb the clock.
        grace: seconds that a cell has to end by itself when it is stopped.
    """

    def __init__(self, slots: Sequence[str] | None = None, grace: float = 10.0) -> None:
        self.slots, self.grace = slots, grace

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Hydra's way to hand things over."""
        self.context, self.config = hydra_context, config
        self.command = config.hydra.job.name
        self.slots = self.slots or (["all"] if self.command == "bench" else None)

    def plan(self, job_overrides: Sequence[Sequence[str]]) -> list[Planned]:
        """What the jobs are and which of them have to run."""
        loader, master = self.context.config_loader, self.config
        return make_plan(job_overrides, lambda o: loader.load_sweep_config(master, o))

    def check_plan(self, cells: Sequence[Planned]) -> None:
        """Raises ConfigError where the machine has no place for what is to run."""
        if chosen := to_run(cells):
            places_for(chosen, self.slots)

    def run_plan(self, cells: Sequence[Planned]) -> list[Job]:
        """Runs a plan."""
        log = Path(self.config.hydra.sweep.dir) / LOG_NAME
        return launch(cells, log, self.slots, self._options(), self.grace, self.command)

    def _options(self) -> list[str]:
        """Config folders of the user's own, which a job needs as well."""
        sources = self.config.hydra.runtime.config_sources
        return [f"--config-dir={s.path}" for s in sources if s.provider == "command-line"]

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Runs a batch of jobs and returns their main metrics, as a sweeper expects them."""
        try:
            cells = self.plan(job_overrides)
            jobs = {job.name: job for job in self.run_plan(cells)}
        except ConfigError as error:
            exit_with(error, f"tsdtp {self.command}")
        by_overrides = {made: cell for cell in cells for made in (cell.overrides, *cell.twins)}
        chosen = [by_overrides[tuple(overrides)] for overrides in job_overrides]
        return [_returned(cell, jobs.get(cell.name)) for cell in chosen]


class CellFailed(CompactHydraException):
    """A job of a multirun failed; the others ran."""


def _returned(cell: Planned, job: Job | None) -> JobReturn:
    returned = JobReturn(overrides=list(cell.overrides), working_dir=str(cell.folder))
    if job is not None and job.state not in (State.DONE, State.WAITING):
        returned.status = JobStatus.FAILED
        returned.return_value = CellFailed(f"{job.name}: {job.note} (see {job.log})")
        return returned
    returned.status = JobStatus.COMPLETED
    record = held_record(cell.folder)  # none of a dry run
    returned.return_value = record and main_metric(record)
    return returned
