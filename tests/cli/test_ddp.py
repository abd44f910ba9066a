"""Several processes train what one process trains, measure it alike, and leave one record."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch
from hydra import compose, initialize_config_dir

from tsdtp.cli.checks.values import check_one_process
from tsdtp.cli.config import HYDRA_VERSION_BASE, ConfigError, config_dir, instantiate
from tsdtp.jobs.warm import Forked
from tsdtp.results import read_record

CONSOLE = [sys.executable, "-c", "from tsdtp.cli.main import main; main()", "train"]
# Odd numbers: 3 rows are left for the last training batch, 1 for the last one of evaluation.
SETTINGS = [
    "task.data.max_length=40",
    *("task.data.train_examples=195", "task.data.eval_examples=129", "batch_size=16", "epochs=2"),
    *("optim.lr=1e-3", "callbacks=none", "benchmark.enabled=false", "hardware.threads=1"),
    "log_every_n_steps=4",
    *("budget_schedule.updates=4", "budget_schedule.examples=64"),
    *("budget_schedule.final_examples=128", "teaching.examples=128", "teacher.attribution_every=1"),
]
PRUNED = ["pruning=ts_dtp", "pruning.budget=0.6", "model.init_from=one/none"]
PRUNED += ["teaching.freeze=false", "pruning.soft_until=0.5"]  # it learns, and then it rests
METHODS = {"none": [], "ts_dtp": PRUNED}
SHARDED = "hardware.strategy={_target_: sharded_on_cpu.ShardedOnCpu}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where all of them train."""
    return tmp_path_factory.mktemp("processes")


def settings(name: str, *overrides: str) -> list[str]:
    """Of a training in the folder `name`, by the method that it ends with."""
    return [*SETTINGS, *METHODS[Path(name).name], *overrides, f"hydra.run.dir={name}"]


@pytest.fixture(scope="module")
def start(folder, forked):
    """`start("one/none", ...)` is such a training and its log; it starts further processes."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]

    def run(name: str, *overrides: str) -> tuple[Forked, Path]:
        log = folder / f"{name.replace('/', '_')}.log"
        with contextlib.chdir(folder):
            arguments = settings(name, *overrides)
            return forked(
                "tsdtp.cli.train", log, *arguments, PYTHONPATH=os.pathsep.join(paths)
            ), log

    return run


def finish(process: Forked, log: Path) -> None:
    """Waits for a training that ends well."""
    code = process.wait(240)
    assert code == 0, log.read_text()


def shell(folder: Path, command: list[str], **environment: str) -> subprocess.Popen:
    """A command from a shell in the folder."""
    variables = {**os.environ, **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=variables, **pipes)


def said(process: subprocess.Popen) -> str:
    """What it printed until it ended well."""
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0, out
    return out


@pytest.fixture(scope="module")
def one(folder, start) -> Path:
    """Holds `none` and `ts_dtp`, both trained by one process."""
    for method in METHODS:
        finish(*start(f"one/{method}"))
    return folder / "one"


def curve(folder: Path) -> pd.DataFrame:
    """Every logged value by step but the rates; accuracies are rounded to float32."""
    return pd.read_csv(folder / "csv" / "metrics.csv").set_index("step")


def same_training(folder: Path, other: Path) -> None:
    """float32 sums in another order: 1e-4 on losses; nothing on what is counted."""
    one, two = curve(folder), curve(other)
    assert len(one) >= 7 and one["train/loss"].nunique() >= 5
    losses = [name for name in one if name.startswith("train/")]
    pd.testing.assert_frame_equal(one[losses], two[losses], rtol=1e-4, atol=1e-5)
    pd.testing.assert_frame_equal(
        one.drop(columns=losses), two.drop(columns=losses), rtol=1e-6, atol=0
    )
    trained, again = read_record(folder), read_record(other)
    assert trained.quality["n"] == again.quality["n"] == 129
    assert again.quality["accuracy"] == trained.quality["accuracy"]
    assert again.cost["flops_ratio"] == pytest.approx(trained.cost["flops_ratio"], abs=1e-6)


@pytest.mark.slow
def test_two_processes_train_as_one(folder, one):
    """From a shell, by the console command."""
    arguments = settings("two/ts_dtp", "hardware=ddp_cpu", "hydra.mode=RUN")
    out = said(shell(folder, [*CONSOLE, *arguments]))
    assert out.count("accuracy") == 3, "two epochs and the record, each told once"
    assert out.count("train texts cut at 40 tokens") == 1
    two = folder / "two" / "ts_dtp"
    same_training(one / "ts_dtp", two)
    accuracy = curve(two)["val/accuracy"].dropna() * 129
    assert (accuracy - accuracy.round()).abs().max() < 1e-4, "each example counted once"
    assert len(list(two.rglob("metrics.json"))) == 1
    assert not (folder / "outputs").exists() and not (folder / "multirun").exists()


@pytest.mark.slow
def test_sharded_weights_train_as_whole_ones(folder, one, start):
    finish(*start("sharded/ts_dtp", "hardware=ddp_cpu", SHARDED))
    same_training(one / "ts_dtp", folder / "sharded" / "ts_dtp")


@pytest.mark.slow
def test_two_nodes_as_slurm_starts_them(folder, one):
    """Each by an interpreter of its own, which is told its rank before it imports anything."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2"}
    job |= {"SLURM_NTASKS_PER_NODE": "1", "SLURM_LOCALID": "0"}
    job |= {"SLURM_NODELIST": "127.0.0.1", "MASTER_PORT": port}
    nodes = ("hardware=ddp_cpu", "hardware.devices=1", "hardware.num_nodes=2")
    command = [*CONSOLE, *settings("nodes/none", *nodes)]
    tasks = [shell(folder, command, **job, SLURM_PROCID=r, SLURM_NODEID=r) for r in ("0", "1")]
    first, second = map(said, tasks)
    assert "n = 129" in first and "accuracy" not in second
    same_training(one / "none", folder / "nodes" / "none")


@pytest.mark.slow
def test_a_stopped_run_ends_with_all_its_processes(folder, start):
    process, log = start("stopped/none", "hardware=ddp_cpu", "epochs=500")
    while not log.exists() or "epoch 1/" not in log.read_text():
        assert process.poll() is None, "it ended by itself"
        time.sleep(0.2)
    (child,) = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 128 + signal.SIGTERM
    _, alive = psutil.wait_procs([child], timeout=30)
    assert all(p.status() == psutil.STATUS_ZOMBIE for p in alive)
    assert not list((folder / "stopped").rglob("metrics.json"))


@pytest.mark.slow
def test_a_loss_that_is_no_number_in_one_process_stops_both_and_is_what_is_told(folder, start):
    added = "+callbacks.nan={_target_: nan_in_second.NanInSecond, step: 3}"
    process, log = start("nan/none", "hardware=ddp_cpu", added)
    assert process.wait(240) == 2, log.read_text()
    said = [line for line in log.read_text().splitlines() if line.startswith("tsdtp train: ")]
    assert said and all("loss is nan at step 3; its batch lies in nan/none" in s for s in said)
    assert "Traceback" not in log.read_text()
    saved = torch.load(folder / "nan/none/nan_batch.pt", weights_only=True)
    assert saved["step"] == 3 and len(saved["batch"]["input_ids"]) == 8, "its share"


@pytest.mark.slow
def test_a_multirun_within_one_process_is_refused(tsdtp):
    arguments = ["hydra/launcher=basic", "hardware=ddp_cpu", "seed=0,1", "debug=fast"]
    outcome = tsdtp("train", "-m", *arguments)
    assert outcome.code == 1 and "hydra/launcher=process" in outcome.err
    assert not list(Path().rglob("metrics.json"))


@pytest.mark.parametrize(
    ("overrides", "several"),
    [
        (["hardware=cpu"], False),
        (["hardware=gpu", "hardware.devices=[3]"], False),
        (["hardware=gpu", "hardware.devices=2"], True),
        (["hardware=ddp"], True),
        (["hardware=fsdp"], True),
    ],
)
def test_knows_hardware_of_several_processes(overrides, several):
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        hardware = compose("train", overrides).hardware
    if several:
        with pytest.raises(ConfigError, match="hydra/launcher=process"):
            check_one_process(hardware)
    else:
        check_one_process(hardware)


def test_fsdp_leaves_every_dtype_to_autocast():
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        strategy = instantiate(compose("train", ["hardware=fsdp"]).hardware.strategy)
    mixed = strategy.mixed_precision_config
    assert (mixed.param_dtype, mixed.reduce_dtype, mixed.buffer_dtype) == (None, None, None)
