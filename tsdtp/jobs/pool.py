"""Runs jobs as processes, one per slot, each in a process group that can be ended as a whole."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import psutil

from tsdtp.jobs.job import Job, State
from tsdtp.jobs.progress import PROGRESS_NAME
from tsdtp.jobs.slots import Slot
from tsdtp.jobs.warm import Forked, prepare

Process = subprocess.Popen | Forked
# Variables of a job's environment: how many run side by side, and when it was begun.
SLOTS, BEGUN = "TSDTP_SLOTS", "TSDTP_BEGUN"


class Pool:
    """Slots and the processes in them.

    Args:
        slots: that jobs may use, one job each.
        environment: of every job, beside this process's own.
        grace: seconds that a job has to end by itself before it is killed.
        imports: modules; on Linux `python -m` jobs are forked from a process that has imported
            them, but for those on GPUs, which a process must not have touched that forks.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        environment: dict[str, str] | None = None,
        grace: float = 10.0,
        imports: Sequence[str] = (),
    ) -> None:
        if not slots:
            raise ValueError("no slot to run a job in")
        self.free = list(slots)
        self.environment = {**(environment or {}), SLOTS: str(len(slots))}
        self.grace, self.imports, self._prepared = grace, imports, False
        self._running: dict[str, tuple[Job, Slot, Process]] = {}

    @property
    def running(self) -> list[Job]:
        """The jobs that run now."""
        return [job for job, _, _ in self._running.values()]

    def start(self, job: Job) -> None:
        """Starts a job in a free slot."""
        slot = self.free[0]
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / PROGRESS_NAME).unlink(missing_ok=True)
        process = self._begin(job, slot)
        self.free.remove(slot)
        if slot.cores and hasattr(psutil.Process, "cpu_affinity"):
            with contextlib.suppress(psutil.Error):  # it may have ended already
                psutil.Process(process.pid).cpu_affinity(list(slot.cores))
        job.state = State.RUNNING
        self._running[job.name] = (job, slot, process)

    def _begin(self, job: Job, slot: Slot) -> Process:
        """A process with a session of its own: Ctrl-C reaches it through us alone."""
        is_module = job.command[:2] == [sys.executable, "-m"]
        forks = bool(self.imports) and is_module and not slot.gpu and sys.platform == "linux"
        if forks and not self._prepared:
            prepare(self.imports)
            self._prepared = True
        job.started = time.monotonic()
        variables = {**os.environ, **self.environment, **slot.environment}
        variables[BEGUN] = str(time.time())
        if forks:
            return Forked(job.command[2], job.command[3:], job.log, variables)
        with open(job.log, "wb") as log:
            return subprocess.Popen(
                job.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,
            )

    def poll(self) -> list[Job]:
        """Jobs that have ended since the last call."""
        codes = {name: process.poll() for name, (_, _, process) in self._running.items()}
        return [self._settle(name, code) for name, code in codes.items() if code is not None]

    def _settle(self, name: str, code: int) -> Job:
        job, slot, process = self._running.pop(name)
        _signal(process, signal.SIGKILL)  # whatever it has left behind: ranks, data workers
        self.free.append(slot)
        job.settle(code)
        return job

    def stop(self, jobs: Sequence[Job], note: str) -> None:
        """Ends running jobs: by an interrupt, and by force where that is not enough."""
        chosen = [self._running[job.name] for job in jobs if job.name in self._running]
        for _, _, process in chosen:
            _signal(process, signal.SIGINT)
        deadline = time.monotonic() + self.grace
        for job, _, process in chosen:
            try:
                process.wait(max(deadline - time.monotonic(), 0.0))
            except subprocess.TimeoutExpired:
                pass
            except BaseException:  # a second Ctrl-C waits for nobody
                for _, _, each in chosen:
                    _signal(each, signal.SIGKILL)
                raise
            _signal(process, signal.SIGKILL)
            self._settle(job.name, process.wait())
            if job.state is not State.DONE:
                job.state, job.note = State.STOPPED, note


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def run_all(
    pool: Pool, jobs: Sequence[Job], refresh: Callable[[], None], poll: float = 0.2
) -> None:
    """Runs every job as soon as a slot is free and the jobs that it needs are done.

    A job that fails blocks those that need it and no others.

    Args:
        pool: to run them in.
        jobs: in the order in which they should start; what they need stands before them.
        refresh: called after each look at the jobs.
        poll: seconds between looks.

    Whatever ends this early, Ctrl-C or an error, ends every running job first.
    """
    states = {job.name: job for job in jobs}
    try:
        while any(job.state in (State.WAITING, State.RUNNING) for job in jobs):
            pool.poll()
            for job in jobs:
                if job.state is State.WAITING:
                    _advance(job, [states[name] for name in job.after if name in states], pool)
            refresh()
            time.sleep(poll)
    except BaseException as error:
        by_hand = isinstance(error, KeyboardInterrupt)
        pool.stop(pool.running, "interrupted" if by_hand else "stopped")
        raise
    finally:
        refresh()


def _advance(job: Job, needs: list[Job], pool: Pool) -> None:
    """Blocks a job whose needs have failed, or starts one whose needs are done."""
    lost = [n.name for n in needs if n.state in (State.FAILED, State.BLOCKED, State.STOPPED)]
    if lost:
        job.state, job.note = State.BLOCKED, f"needs {lost[0]}"
    elif pool.free and all(n.state is State.DONE for n in needs):
        pool.start(job)
