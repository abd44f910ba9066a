"""Runs the cells of a plan, each in a process of its own, and says what became of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tsdtp.cli.checks.pruner import check_pruners
from tsdtp.cli.config import BEGUN_WITH, ConfigError, device_count, quoted
from tsdtp.cli.folder import check_idle
from tsdtp.cli.identity import Status
from tsdtp.cli.planned import Planned, check_agreed, expected_seconds, is_dry, to_run
from tsdtp.cli.signals import terminate_as_interrupt
from tsdtp.jobs.board import Board, clock, counted
from tsdtp.jobs.job import Job, State
from tsdtp.jobs.pool import Pool, run_all
from tsdtp.jobs.slots import Slot, cpu_slot, free_slots, gpu_slot
from tsdtp.provenance import code_digest
from tsdtp.results import RECORD_NAME, read_record

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
# What a cell needs: it is forked from a process that has it. Without it starting takes seconds.
IMPORTS = (
    *(f"tsdtp.cli.{name}" for name in ("train", "bench", "run", "cells", "bench_cell")),
    "tsdtp.report.html",
    "datasets",
    "transformers.models.bert.modeling_bert",
)


def launch(
    cells: Sequence[Planned],
    log: Path,
    slots: Sequence[str] | None = None,
    options: Sequence[str] = (),
    grace: float = 10.0,
    command: str = "train",
) -> list[Job]:
    """Runs what has to run; cells that start from another one wait for it.

    Args:
        cells: of the plan.
        log: file for a line per change.
        slots: GPU ids (`0`, `0,1`) or CPU cores (`0-3`), one slot each; None: all there is room
            for.
        options: of every cell's command line, before its overrides.
        grace: seconds that a cell has to end by itself when it is stopped.
        command: of `tsdtp` that runs a cell.

    Returns:
        The jobs, ended; those of a dry run wait.

    Raises:
        ConfigError: before anything starts.
        SystemExit: after Ctrl-C, when every process has ended.
    """
    chosen = to_run(cells)
    jobs = [
        run_job(
            cell.name,
            cell.folder,
            [*options, *cell.command],
            command,
            after=cell.after,
            expected=expected_seconds(cell, cells),
            missing=cell.status is Status.MISSING,
        )
        for cell in chosen
    ]
    if is_dry(cells):
        print(listing(cells, slots), flush=True)
        return jobs
    check_ready(cells)
    _announce(cells, chosen)
    if not chosen:
        return jobs
    places = places_for(chosen, slots)
    pool = Pool(places, {BEGUN_WITH: code_digest()}, grace, IMPORTS)
    try:
        with terminate_as_interrupt(), Board(jobs, log, len(places)) as board:
            run_all(pool, jobs, board.refresh)
    except KeyboardInterrupt:
        print(_interrupted(jobs, cells), flush=True)
        sys.exit(INTERRUPTED)
    print(_overhead(jobs), flush=True)
    return jobs


def _interrupted(jobs: Sequence[Job], cells: Sequence[Planned]) -> str:
    """What is left to do, and what does it."""
    left = [job for job in jobs if job.state is not State.DONE]
    again = any(cell.settings["overwrite"] for cell in cells)
    goes_on = "begins again, for overwrite=true" if again else "goes on"
    are_left = counted(len(left), "cell is left", "cells are left")
    said = f"interrupted; {are_left}, the same command {goes_on}:"
    return "\n".join([said, *(f"  {job.name}" for job in left)])


def check_ready(cells: Sequence[Planned]) -> None:
    """Raises ConfigError for what forbids to begin; before anything is written or replaced."""
    check_agreed(cells)
    check_pruners(cells)
    check_idle(cell.folder for cell in to_run(cells))


def _overhead(jobs: Sequence[Job]) -> str:
    """What a cell took, and how much of that before and after its own work: medians."""
    done = [(j.seconds, j.result) for j in jobs if j.state is State.DONE and j.seconds is not None]
    if not done:
        return "no cell has finished"
    known = [(seconds, read_record(result).provenance) for seconds, result in done]
    took = median(seconds for seconds, _ in known)
    starting = median(record["startup_seconds"] for _, record in known)
    ending = median(seconds - record["seconds"] for seconds, record in known)
    return (
        f"{counted(len(done), 'cell')}, median {took:.1f} s each, "
        f"of which {starting:.1f} s starting and {ending:.1f} s ending"
    )


def run_job(
    name: str, folder: Path, arguments: Sequence[str], command: str = "train", **known: Any
) -> Job:
    """One run as a job: `tsdtp train` or another command in a process of its own.

    Args:
        name: of the job.
        folder: of the run.
        arguments: of the command.
        command: of `tsdtp`.
        **known: what else is known of the job.
    """
    program = [sys.executable, "-m", f"tsdtp.cli.{command}"]
    own = ["hydra.mode=RUN", f"hydra.run.dir={quoted(folder)}"]
    return Job(name, folder, [*program, *arguments, *own], folder / RECORD_NAME, **known)


def places_for(cells: Sequence[Planned], named: Sequence[str] | None) -> list[Slot]:
    """Slots for cells that are to run, see `choose_slots`."""
    return choose_slots([cell.settings["hardware"] for cell in cells], named)


def choose_slots(hardware: Sequence[Mapping], named: Sequence[str] | None) -> list[Slot]:
    """The slots that the user names, else as many as there is room for.

    Args:
        hardware: the `hardware` settings of every cell.
        named: GPU ids or CPU cores of each slot.

    Raises:
        ConfigError: for a slot that the machine does not have.
    """
    devices = [device_count(h) for h in hardware if h["accelerator"] == "gpu"]
    on_gpu = bool(devices)
    threads = [h["threads"] and h["threads"] * device_count(h) for h in hardware]
    try:
        if named:
            return [(gpu_slot if on_gpu else cpu_slot)(str(name)) for name in named]
        if on_gpu:
            return free_slots(-1 if -1 in devices else max(devices), None)
        return free_slots(0, None if None in threads else max(threads, default=None))
    except ValueError as error:
        raise ConfigError(f"hydra.launcher.slots: {error}") from error


def _announce(cells: Sequence[Planned], chosen: Sequence[Planned]) -> None:
    kept = [cell for cell in cells if cell not in chosen]
    if kept:
        other = sum(cell.status is Status.OTHER_CODE for cell in kept)
        note = f", {other} of them from other code" if other else ""
        print(f"{len(kept)} of {len(cells)} cells are done{note}", flush=True)


def listing(cells: Sequence[Planned], slots: Sequence[str] | None = None) -> str:
    """What a dry run says: what each cell is, and how long those to run may take.

    Args:
        cells: of the plan.
        slots: as in `launch`.
    """
    chosen = to_run(cells)
    expected = {cell.name: expected_seconds(cell, cells) for cell in chosen}
    known = {name: seconds for name, seconds in expected.items() if seconds is not None}
    lines = [
        f"  {cell.status:14}{cell.name}"
        + (f"  about {clock(known[cell.name])}" if cell.name in known else "")
        for cell in cells
    ]
    lines.append(f"{counted(len(cells), 'cell')}, {len(chosen)} to run")
    if not chosen:
        return "\n".join(lines)
    try:
        places = len(places_for(chosen, slots))
    except ConfigError as error:  # this machine may not be the one that will run them
        return "\n".join([*lines, f"not on this machine: {error}"])
    total = f"about {clock(sum(known.values()) / places)}"
    if unknown := len(expected) - len(known):
        total = f"how long is not known, for none like {unknown} of them has run"
    return "\n".join([*lines[:-1], f"{lines[-1]} in {counted(places, 'slot')}: {total}"])
