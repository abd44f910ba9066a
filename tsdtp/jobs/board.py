"""What people see of running jobs: one live table on a terminal, plain lines in a log file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table

from tsdtp.jobs.job import Job, State

_ORDER = [State.RUNNING, State.FAILED, State.BLOCKED, State.STOPPED, State.WAITING, State.DONE]
_STYLE = {State.RUNNING: "bold", State.FAILED: "red", State.BLOCKED: "yellow", State.DONE: "green"}


class Board:
    """Follows jobs; a context manager, in which `refresh` is to be called now and then.

    Args:
        jobs: to follow.
        log: file that gets a line for every change; appended to.
        slots: how many run at a time, for the estimate of the time left.
        console: where the table or, without a terminal, the lines go; default: standard output.
    """

    def __init__(
        self, jobs: Sequence[Job], log: Path, slots: int = 1, console: Console | None = None
    ) -> None:
        self.jobs, self.log, self.slots = jobs, log, slots
        self.console = console or Console(soft_wrap=True, highlight=False)
        self._live = (
            Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        )
        self._seen = {job.name: (job.state, 0) for job in jobs}

    def __enter__(self) -> Board:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.refresh()
        if self._live:
            self._live.stop()

    def refresh(self) -> None:
        """Looks at the jobs and shows what has changed."""
        for job in self.jobs:
            now = (job.state, job.progress().epoch if job.state is State.RUNNING else 0)
            if now != self._seen[job.name] and now[0] is not State.WAITING:
                self._line(job)
            self._seen[job.name] = now
        if self._live:
            self._live.update(self.view(self.console.height - 4), refresh=True)

    def _line(self, job: Job) -> None:
        text = f"{datetime.now():%H:%M:%S} {self.counts()}  {describe(job)}"
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(text + "\n")
        if not self._live:
            self.console.print(text, markup=False)

    def counts(self) -> str:
        """Such as `[3 of 24]`: jobs that have ended, of all."""
        ended = sum(job.state not in (State.WAITING, State.RUNNING) for job in self.jobs)
        return f"[{ended} of {len(self.jobs)}]"

    def left(self) -> float | None:
        """Estimated seconds until every job has ended; None while there is nothing to go by."""
        each = [job.left() for job in self.jobs]
        known = [seconds for seconds in each if seconds is not None]
        if len(known) < len(each) or not each:
            return None
        return max(sum(known) / self.slots, max(known))

    def view(self, rows: int) -> Group:
        """The live table, with room for this many jobs; what runs or failed comes first."""
        table = Table(box=None, pad_edge=False)
        for column in ("cell", "state", "epoch", "metric", "elapsed", "left"):
            table.add_column(column, justify="left" if column in ("cell", "state") else "right")
        shown = sorted(self.jobs, key=lambda job: _ORDER.index(job.state))[: max(rows, 1)]
        for job in shown:
            table.add_row(*_cells(job), style=_STYLE.get(job.state))
        if len(self.jobs) > len(shown):
            table.add_row(f"… and {len(self.jobs) - len(shown)} more")
        return Group(self._title(), table)

    def _title(self) -> str:
        count = Counter(job.state for job in self.jobs)
        states = ", ".join(f"{count[state]} {state}" for state in _ORDER if count[state])
        return f"{counted(len(self.jobs), 'cell')}: {states}; {clock(self.left())} left"


def _cells(job: Job) -> tuple[str, ...]:
    progress = job.progress() if job.state in (State.RUNNING, State.DONE) else None
    running = job.state is State.RUNNING
    state = (progress.stage or job.state) if progress and running else job.state
    epoch = f"{progress.epoch}/{progress.epochs}" if progress and progress.epochs else ""
    metric = "" if progress is None or progress.metric is None else f"{progress.metric:.4f}"
    left = clock(job.left()) if running else ""
    return job.name, state, epoch, metric, clock(job.elapsed) if job.elapsed else "", left


def describe(job: Job) -> str:
    """One line: the job, where it stands, and why."""
    progress = job.progress()
    parts = [f"{job.state:8}", job.name]
    if job.state is State.RUNNING and progress.epochs:
        parts.append(f"epoch {progress.epoch}/{progress.epochs}")
    if progress.metric is not None and job.state in (State.RUNNING, State.DONE):
        parts.append(f"validation {progress.metric:.4f}")
    if job.elapsed and job.state is not State.WAITING:
        parts.append(clock(job.elapsed))
    if job.note:
        parts.append(job.note + (f" (see {job.log})" if job.state is State.FAILED else ""))
    return "  ".join(parts)


def counted(number: int, one: str, several: str | None = None) -> str:
    """Such as `1 cell` and `2 cells`; default for several: an s more."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def clock(seconds: float | None) -> str:
    """Such as `1:02:03`; a question mark where nobody knows."""
    return "?" if seconds is None else str(timedelta(seconds=round(seconds)))
