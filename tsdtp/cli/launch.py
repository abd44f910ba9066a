"""Runs the cells of a plan, each in an interpreter of its own, and says what became of them."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tsdtp.cli.config import ConfigError
from tsdtp.cli.identity import Status
from tsdtp.cli.plan import Planned, check_code, expected_seconds, to_run
from tsdtp.jobs.board import Board, clock
from tsdtp.jobs.job import Job, State
from tsdtp.jobs.pool import Pool, run_all
from tsdtp.jobs.slots import Slot, cpu_slot, free_slots, gpu_slot
from tsdtp.provenance import code_digest
from tsdtp.results import RECORD_NAME

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it


def launch(
    cells: Sequence[Planned],
    log: Path,
    slots: Sequence[str] | None = None,
    options: Sequence[str] = (),
    grace: float = 10.0,
) -> list[Job]:
    """Runs what has to run; cells that start from another one wait for it.

    Args:
        cells: of the plan.
        log: file for a line per change.
        slots: GPU ids (`0`, `0,1`) or CPU cores (`0-3`), one slot each; None: all there is room
            for.
        options: of every cell's command line, before its overrides.
        grace: seconds that a cell has to end by itself when it is stopped.

    Returns:
        The jobs, ended; those of a dry run wait.

    Raises:
        ConfigError: before anything starts.
        SystemExit: after Ctrl-C, when every process has ended.
    """
    chosen = to_run(cells)
    jobs = [_job(cell, cells, options) for cell in chosen]
    hardware = [cell.settings["hardware"] for cell in chosen]
    if any(cell.settings["dry_run"] for cell in cells):
        print(_listing(cells, jobs, hardware, slots), flush=True)
        return jobs
    places = choose_slots(hardware, slots)
    check_code(cells)
    _announce(cells, chosen)
    pool = Pool(places, {"TSDTP_CODE": code_digest()}, grace)
    try:
        with terminate_as_interrupt(), Board(jobs, log, len(places)) as board:
            run_all(pool, jobs, board.refresh)
    except KeyboardInterrupt:
        left = [job for job in jobs if job.state is not State.DONE]
        print(f"interrupted; {len(left)} cells are left, the same command goes on with them:")
        print("\n".join(f"  {job.name}" for job in left), flush=True)
        sys.exit(INTERRUPTED)
    return jobs


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Takes SIGTERM, which batch systems send, like Ctrl-C, so that no process is left behind.

    Ctrl-C itself is heard, too: a shell has what it starts in the background ignore it, and
    processes that we start would inherit that.
    """
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _job(cell: Planned, cells: Sequence[Planned], options: Sequence[str]) -> Job:
    replaced = [] if cell.status is Status.MISSING else ["overwrite=true"]
    own = ["hydra.mode=RUN", f"hydra.run.dir={cell.folder}"]
    program = [sys.executable, "-m", "tsdtp.cli.train", *options]
    return Job(
        name=cell.name,
        folder=cell.folder,
        command=[*program, *cell.overrides, *replaced, *own],
        result=cell.folder / RECORD_NAME,
        after=cell.after,
        expected=expected_seconds(cell, cells),
    )


def choose_slots(hardware: Sequence[Mapping], named: Sequence[str] | None) -> list[Slot]:
    """The slots that the user names, else as many as there is room for.

    Args:
        hardware: the `hardware` settings of every cell.
        named: GPU ids or CPU cores of each slot.

    Raises:
        ConfigError: for a slot that the machine does not have.
    """
    on_gpu = any(h["accelerator"] == "gpu" for h in hardware)
    devices = [_devices(h) for h in hardware]
    threads = [h["threads"] and h["threads"] * _devices(h) for h in hardware]
    try:
        if named:
            return [(gpu_slot if on_gpu else cpu_slot)(str(name)) for name in named]
        if on_gpu:
            return free_slots(max(devices), None)
        return free_slots(0, None if None in threads else max(threads, default=None))
    except ValueError as error:
        raise ConfigError(f"hydra.launcher.slots: {error}") from error


def _devices(hardware: Mapping) -> int:
    """Devices that a cell uses; -1: all there are."""
    devices = hardware["devices"]
    return len(devices) if isinstance(devices, Sequence) else devices


def _announce(cells: Sequence[Planned], chosen: Sequence[Planned]) -> None:
    kept = [cell for cell in cells if cell not in chosen]
    if kept:
        other = sum(cell.status is Status.OTHER_CODE for cell in kept)
        note = f", {other} of them from other code" if other else ""
        print(f"{len(kept)} of {len(cells)} cells are done{note}", flush=True)


def _listing(
    cells: Sequence[Planned],
    jobs: Sequence[Job],
    hardware: Sequence[Mapping],
    named: Sequence[str] | None,
) -> str:
    expected = {job.name: job.expected for job in jobs}
    lines = [
        f"  {cell.status:14}{cell.name}"
        + (f"  about {clock(expected[cell.name])}" if cell.name in expected else "")
        for cell in cells
    ]
    lines.append(f"{len(cells)} cells, {len(jobs)} to run")
    try:
        slots = len(choose_slots(hardware, named))
    except ConfigError as error:  # this machine may not be the one that will run them
        return "\n".join([*lines, f"not on this machine: {error}"])
    known = [seconds for seconds in expected.values() if seconds is not None]
    total = clock(sum(known) / slots) if len(known) == len(expected) else "? (none like them ran)"
    return "\n".join([*lines[:-1], f"{lines[-1]} in {slots} slots: about {total}"])
