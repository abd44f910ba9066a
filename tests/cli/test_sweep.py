"""A sweep runs cells in order, survives what happens to them, and goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny import FAST, REPOSITORY, TIMED

from tsdtp.cli.signals import terminate_as_interrupt
from tsdtp.cli.sweep import sweep_lock
from tsdtp.jobs.job import LOG_NAME
from tsdtp.results import read_record

PRESET = """# Two methods on generated data; the pruned cells stand first, their start run last.
common: [model=tiny_bert]
grids:
  - task: [synthetic_sentence]
    pruning: [topk]
    pruning.budget: [0.6, 0.01]
    variant: [mine]
    seed: [0]
    model.init_from: [unpruned]
  - {task: [synthetic_sentence], pruning: [none], seed: [0]}
"""
FOLDER = Path("outputs/sweeps/mine")
CELLS = FOLDER / "synthetic_sentence/tiny_bert"


@pytest.fixture
def sweep(tsdtp, tmp_path):
    """`tsdtp sweep sweep=mine ...` on a preset of three cells, of which one must fail."""
    (tmp_path / "mine.yaml").write_text(PRESET)
    return lambda *more: tsdtp("sweep", "sweep=mine.yaml", *TIMED, *more)


@pytest.mark.slow
def test_the_life_of_a_sweep(sweep):
    outcome = sweep()
    assert outcome.code == 1, "a failed cell must show in the exit code"
    assert outcome.out.count("failed ") == 1 and "below what TopK can reach" in outcome.out
    assert re.search(r"2 cells, median \S+ s each, of which \S+ s starting", outcome.out)
    assert len(json.loads((FOLDER / "sweep.json").read_text())["cells"]) == 3
    table = (FOLDER / "tables.md").read_text()
    assert "2 of 3 runs finished" in table
    assert table.count("Top-k, mine ") == 2
    assert "No Pruning (packed)" in table and "Top-k" in table
    assert "–" in next(line for line in table.splitlines() if "0.01" in line)
    for name in ("tables.tex", "tables.csv"):
        assert (FOLDER / name).stat().st_size > 0
    log = (FOLDER / "sweep.log").read_text().splitlines()
    order = [line.split("tiny_bert/")[1].split()[0] for line in log if "running" in line]
    assert order[0] == "none/seed0", "the pruned cells wait for the run that they start from"
    record = read_record(CELLS / "topk-0.6-mine/seed0")
    assert record.provenance["start"]["run_id"].endswith("none/seed0")
    assert record.provenance["seconds"] > 0

    listed = sweep("dry_run=true")
    assert listed.code == 0
    assert "3 cells, 1 to run" in listed.out and "about 0:00:" in listed.out
    dates = {p: read_record(p).provenance["date"] for p in FOLDER.rglob("metrics.json")}
    assert sweep().code == 1, "only the failed cell runs again, and fails again"
    assert {p: read_record(p).provenance["date"] for p in dates} == dates

    changed = sweep("dry_run=true", "batch_size=16")
    assert changed.out.count("changed") == 2 and "3 to run" in changed.out


@pytest.mark.slow
def test_what_was_to_be_replaced_and_failed_is_a_gap(tsdtp, tmp_path):
    grid = "{task: [synthetic_sentence], pruning: [mine], seed: [0], model: [tiny_bert]}"
    (tmp_path / "one.yaml").write_text(f"# One cell.\ngrids: [{grid}]\n")
    (tmp_path / "own/pruning").mkdir(parents=True)
    (tmp_path / "own/pruning/mine.yaml").write_text("defaults: [none]\n")

    def sweep(*more):
        return tsdtp("sweep", "sweep=one.yaml", *FAST, *more, f"--config-dir={tmp_path}/own")

    outcome = sweep()
    assert outcome.code == 0, outcome.err
    tables = Path("outputs/sweeps/one/tables.md")
    assert "1 of 1 runs finished" in tables.read_text()
    broken = ("optim.lr=1e38", "optim.warmup=0")
    refused = sweep(*broken)
    assert refused.code == 2 and "optim.warmup: 0.1 -> 0" in refused.err
    assert "1 of 1 runs finished" in tables.read_text(), "as it was"
    assert sweep(*broken, "changed_settings=rerun").code == 1
    assert "0 of 1 runs finished" in tables.read_text()
    assert "left out: this sweep was to replace it, and has not" in tables.read_text()
    (old,) = Path("outputs/sweeps/one").rglob("metrics.json")
    again = ("in_place=true", "quality=false", "hardware.threads=1")
    assert tsdtp("eval", f"run={old.parent}", *again).code == 0
    assert "this sweep was to replace it" in tsdtp("report", "outputs/sweeps/one").err
    assert sweep().code == 0 and "1 of 1 runs finished" in tables.read_text()


def test_a_sweep_that_the_machine_has_no_place_for_replaces_nothing(sweep):
    FOLDER.mkdir(parents=True)
    outcome = sweep('hydra.launcher.slots=["999"]')
    assert outcome.code == 2 and "hydra.launcher.slots" in outcome.err
    assert not (FOLDER / "sweep.json").exists()


def test_a_dry_run_is_dry_however_it_is_written_and_in_any_folder(sweep, monkeypatch):
    monkeypatch.setattr("tsdtp.cli.report.main", pytest.fail)
    outcome = sweep("dir=a=b/run (1)'s", "dry_run=True")
    assert outcome.code == 0 and "to run" in outcome.out, outcome.err


def test_a_sweep_of_failures_uploads_nothing(sweep, monkeypatch, wandb):
    monkeypatch.setattr("tsdtp.cli.sweep._run", lambda *_: 1)
    outcome = sweep("logger=wandb")
    assert outcome.code == 1 and "no record" in outcome.err


def test_tables_that_cannot_be_written_are_no_success(sweep, trained, monkeypatch):
    trained()
    monkeypatch.setattr("tsdtp.cli.sweep._run", lambda *_: 0)
    Path("outputs/runs/tables.md").mkdir()
    outcome = sweep("dir=outputs/runs")
    assert outcome.code == 2 and "cannot write outputs/runs/tables.md" in outcome.err


@pytest.mark.slow
def test_the_cells_of_a_folder_of_any_name(tsdtp, tmp_path):
    (tmp_path / "mine.yaml").write_text("common: model=tiny_bert\ngrids: {seed: 0}\n")
    outcome = tsdtp("sweep", "sweep=mine.yaml", *FAST, "dir=a=b/run (1)")
    assert outcome.code == 0, outcome.err
    assert list(Path("a=b/run (1)").rglob("metrics.json"))


def test_a_second_sweep_in_the_folder_is_refused(sweep):
    with sweep_lock(FOLDER):
        outcome = sweep()
    assert outcome.code == 2
    assert "another sweep is running" in outcome.err and len(outcome.err.splitlines()) == 1


def start(program: str, *arguments: str) -> subprocess.Popen:
    """A multirun or a sweep, in a process of its own."""
    command = [sys.executable, "-m", f"tsdtp.cli.{program}", *arguments]
    command += ["callbacks=none", "logger=none", "hardware.threads=1", "benchmark.enabled=false"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def wait_for(condition, seconds: float = 120.0):
    """What the condition gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found


def cell_processes(parent: int) -> dict:
    """Processes below it by the folder whose log they write."""
    found = {}
    for process in psutil.Process(parent).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            logs = [Path(file.path) for file in process.open_files()]
            found |= {log.parent.name: process for log in logs if log.name == LOG_NAME}
    return found


@pytest.mark.parametrize("ignored", [False, True])
def test_the_end_of_a_terminal_is_an_interrupt_but_under_nohup(ignored):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        ended = contextlib.nullcontext() if ignored else pytest.raises(KeyboardInterrupt)
        with ended, terminate_as_interrupt():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.1)
        assert signal.getsignal(signal.SIGHUP) is (signal.SIG_IGN if ignored else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_ctrl_c_ends_the_cells_and_says_what_is_left(tsdtp):
    process = start("train", "-m", "epochs=500", "seed=0,1")
    wait_for(lambda: list(Path().rglob("progress.json")))
    cells = cell_processes(process.pid).values()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "2 cells are left" in out and out.count("none/seed") >= 2
    assert cells and not any(cell.is_running() for cell in cells)
    assert not list(Path().rglob("metrics.json")) and not list(Path().rglob("*.tmp"))


@pytest.mark.slow
def test_a_cell_killed_from_outside_does_not_touch_the_other(tsdtp):
    endless = "{seed: 0, max_steps: -1, epochs: 100000}"
    Path("two.yaml").write_text(f"common: model=tiny_bert\ngrids: [{endless}, {{seed: 1}}]\n")
    process = start("sweep", "sweep=two.yaml", "debug=fast")
    wait_for(lambda: cell_processes(process.pid).get("seed0")).kill()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "killed by SIGKILL" in out
    (record,) = Path().rglob("metrics.json")
    assert record.parent.name == "seed1"
