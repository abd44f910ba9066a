"""A job: one command in one folder, and what became of it."""

from __future__ import annotations

import re
import signal
import time
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tsdtp.jobs.progress import Progress, read_progress

LOG_NAME = "run.log"
# The error's own line, the first that is not indented.
_UNCAUGHT = re.compile(r"^Traceback \(most recent call last\):\n(?:(?: .*)?\n)*(\S.*)$", re.M)


class State(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    BLOCKED = "blocked"  # a job that it needs failed
    STOPPED = "stopped"


@dataclass
class Job:
    """One cell of a sweep.

    Attributes:
        name: that people know it by.
        folder: of its files; its output goes to `run.log` there.
        command: program and arguments.
        result: the file that proves that it has finished.
        after: names of jobs that must be done before it starts.
        expected: seconds that it may take, None if nobody knows.
        missing: there was no result when it was planned: one that is there by now is of this very
            run, whoever made it in the meantime.
        state: where it stands.
        note: why it failed or did not run; one line.
        seconds: that it took, once it has ended.
    """

    name: str
    folder: Path
    command: list[str]
    result: Path
    after: tuple[str, ...] = ()
    expected: float | None = None
    missing: bool = False
    state: State = State.WAITING
    note: str = ""
    seconds: float | None = None
    started: float = field(default=0.0, repr=False)
    _before: int | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Remembers the result that an earlier run has left: it proves nothing of this one."""
        self._before = None if self.missing else self._written()

    @property
    def log(self) -> Path:
        """The file of its output."""
        return self.folder / LOG_NAME

    @property
    def elapsed(self) -> float | None:
        """Seconds since it started, or that it took."""
        return time.monotonic() - self.started if self.state is State.RUNNING else self.seconds

    def progress(self) -> Progress:
        """How far the job says it is; empty before it has said anything."""
        return read_progress(self.folder)

    def left(self) -> float | None:
        """Estimated seconds to go."""
        if self.state is State.WAITING:
            return self.expected
        if self.state is not State.RUNNING:
            return 0.0
        elapsed, done = self.elapsed or 0.0, self.progress().fraction
        if done:
            return elapsed * (1 - done) / done
        return None if self.expected is None else max(self.expected - elapsed, 0.0)

    def settle(self, code: int) -> None:
        """Takes note of how its process ended."""
        self.seconds = time.monotonic() - self.started
        if code == 0 and self._written() not in (None, self._before):
            self.state = State.DONE
            return
        self.state, self.note = State.FAILED, self._reason(code)

    def _written(self) -> int | None:
        """When the result was written, in nanoseconds; None where there is none."""
        return self.result.stat().st_mtime_ns if self.result.is_file() else None

    def _reason(self, code: int) -> str:
        if code < 0:
            name = signal_name(-code)
            why = " (out of memory?)" if name == "SIGKILL" else ""
            return f"killed by {name}{why}; its log ends: {self._last_words(1)}"
        last = self._last_words(code)
        return last if code else f"ended without a new {self.result.name}; {last}"

    def _last_words(self, code: int) -> str:
        """The error that nobody caught, without the hints that follow it; else the last line."""
        text = self.log.read_text(errors="replace") if self.log.is_file() else ""
        if code == 1 and (errors := _UNCAUGHT.findall(text)):
            return errors[-1]
        lines = reversed(text.split("\n"))
        return next((line.strip() for line in lines if line.strip()), "no output")


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; of the real-time ones few have a name."""
    names = {each.value: each.name for each in signal.Signals}
    return names.get(number, f"signal {number}")
