"""What people see: a table on a terminal, lines in the log, estimates that follow from progress."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from tsdtp.jobs.board import Board
from tsdtp.jobs.job import Job, State
from tsdtp.jobs.progress import PROGRESS_NAME, Progress, enter_stage, read_progress, write_progress

NOW = 1000.0


def make(folder: Path, name: str, state: State, **known) -> Job:
    place = folder / name
    return Job(name, place, [], place / "result", state=state, **known)


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setattr("tsdtp.jobs.job.time", SimpleNamespace(monotonic=lambda: NOW))
    running = make(tmp_path, "running", State.RUNNING, started=NOW - 30)
    write_progress(running.folder, Progress("training", 1, 4, 0.25, 0.875, (0.875,)))
    return [
        make(tmp_path, "done", State.DONE, seconds=12.0),
        running,
        make(tmp_path, "waiting", State.WAITING, expected=100.0),
        make(tmp_path, "failed", State.FAILED, seconds=3.0, note="out of memory"),
    ]


def test_the_table_shows_what_runs_first_and_how_long_it_will_take(jobs, tmp_path):
    console = Console(record=True, width=120, file=StringIO())
    board = Board(jobs, tmp_path / "log", slots=1, console=console)
    console.print(board.view(rows=3))
    lines = [line.split() for line in console.export_text().splitlines() if line.strip()]
    assert "4 cells: 1 running, 1 failed, 1 waiting, 1 done; 0:03:10 left" in " ".join(lines[0])
    assert lines[1] == ["cell", "state", "epoch", "metric", "elapsed", "left"]
    assert lines[2] == ["running", "training", "1/4", "0.8750", "0:00:30", "0:01:30"]
    assert [line[0] for line in lines[3:]] == ["failed", "waiting", "…"]


def test_nobody_knows_how_long_new_cells_take(jobs, tmp_path):
    jobs[2].expected = None
    assert Board(jobs, tmp_path / "log").left() is None


def test_every_change_is_one_line_in_the_log(jobs, tmp_path):
    console = Console(file=StringIO())
    with Board(jobs, tmp_path / "sub" / "log", console=console) as board:
        board.refresh()
        jobs[2].state, jobs[2].note = State.FAILED, "killed by SIGKILL (out of memory?)"
        board.refresh()
        board.refresh()
    lines = (tmp_path / "sub" / "log").read_text().splitlines()
    assert len(lines) == 2, "the epoch that had ended before, and the failure"
    assert "running" in lines[0] and "epoch 1/4" in lines[0] and "validation 0.8750" in lines[0]
    assert "[3 of 4]" in lines[1] and "SIGKILL" in lines[1] and "run.log" in lines[1]


def test_progress_that_cannot_be_read_is_no_progress(tmp_path):
    assert read_progress(tmp_path) == Progress()
    (tmp_path / PROGRESS_NAME).write_text("{")
    assert read_progress(tmp_path) == Progress()


def test_a_stage_keeps_what_is_known(tmp_path):
    written = Progress("training", 2, 2, 1.0, 0.5, (0.25, 0.5))
    write_progress(tmp_path, written)
    enter_stage(tmp_path, "benchmark")
    assert read_progress(tmp_path) == Progress("benchmark", 2, 2, 1.0, 0.5, (0.25, 0.5))
