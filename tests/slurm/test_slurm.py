"""A multirun on a real Slurm node: `scripts/slurm_node.sh start`, then `pytest -m slurm`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tiny import FAST

from tsdtp.results import read_records

pytestmark = pytest.mark.slurm
# What the smallest node has: one core for each of two jobs.
LAUNCHER = (
    *("hydra/launcher=slurm", "hydra.launcher.timeout_min=5"),
    *("hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1"),
)


# Once for all: the node is still cleaning up after one test when the next submits its jobs.
@pytest.fixture(autouse=True, scope="module")
def idle_node():
    if find_spec("submitit") is None or find_spec("hydra_plugins.hydra_submitit_launcher") is None:
        pytest.skip("hydra-submitit-launcher is not installed: pip install -e '.[slurm]'")
    if shutil.which("sinfo") is None:
        pytest.skip("no sinfo: scripts/slurm_node.sh start installs and starts a Slurm node")
    try:
        command = ["sinfo", "--noheader", "--format=%T"]
        states = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
    except subprocess.TimeoutExpired:
        states = "sinfo has no answer"
    if "idle" not in states.split():
        pytest.skip(f"no idle Slurm node ({states.strip() or 'no node at all'})")


def multirun(folder: Path, *overrides: str) -> subprocess.CompletedProcess:
    """Waits for `tsdtp train -m` through Slurm; a job that hangs is ended with its array."""
    program = [sys.executable, "-m", "tsdtp.cli.train", "-m"]
    return subprocess.run(
        [*program, *LAUNCHER, *FAST, *overrides],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=400,
    )


def job_ids(folder: Path) -> set[str]:
    """Slurm's own ids of the jobs that ran here, as Hydra noted them inside each."""
    return {OmegaConf.load(p).hydra.job.id for p in folder.rglob("hydra.yaml")}


def test_every_run_is_a_job_of_its_own(tmp_path):
    done = multirun(tmp_path, "seed=0,1")
    assert done.returncode == 0, done.stderr
    records, _ = read_records(tmp_path)
    assert [record.identity["seed"] for record in records.values()] == [0, 1]
    runs = tmp_path / "outputs" / "runs"
    ids = job_ids(runs)
    assert len(ids) == 2
    for job in ids:
        output = next(runs.glob(f".submitit/*/{job}_0_log.out")).read_text()
        assert f"job_id={job}" in output
        assert output.count("tiny_bert/none/seed") == 1, "one run in each process"


def test_a_failing_job_leaves_the_other_and_a_code_that_says_so(tmp_path):
    done = multirun(tmp_path, "pruning=topk", "pruning.budget=0.01,0.6")
    assert done.returncode != 0
    assert "pruning.budget" in done.stderr and "0.01" in done.stderr
    records, _ = read_records(tmp_path)
    assert [record.identity["budget"] for record in records.values()] == [0.6]
    assert len(job_ids(tmp_path)) == 2
