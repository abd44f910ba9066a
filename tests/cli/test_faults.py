"""What goes wrong on a real machine ends in one clear line, and loses nothing that was good."""

from __future__ import annotations

import errno
import os
import re
import signal
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from tiny import FAST

from tsdtp.models import from_pretrained
from tsdtp.models.weights import WEIGHTS
from tsdtp.report.frame import to_frame
from tsdtp.results import RECORD_NAME, read_record
from tsdtp.tasks.classification import ClassificationTask

RUN = Path("outputs/runs/synthetic_sentence/tiny_bert/none/seed0")
LAST, PREVIOUS = RUN / "checkpoints" / "last.ckpt", RUN / "checkpoints" / "last.previous.ckpt"
# With checkpoints, as many epochs as told.
TRAINED = ["debug=fast", "max_steps=-1", "logger=none", "hardware.threads=1"]
TRAINED += ["benchmark.enabled=false", "overwrite=true"]


def one_line(outcome) -> str:
    assert outcome.code == 2, outcome.err
    [line] = outcome.err.strip().splitlines()
    return line


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def test_a_loss_that_is_no_number_stops_and_leaves_its_batch(tsdtp, monkeypatch):
    real = ClassificationTask._task_loss

    def broken(self, logits, *rest):
        return real(self, logits, *rest) * (float("nan") if self.global_step == 1 else 1.0)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "_task_loss", broken)
        line = one_line(tsdtp("train", *FAST))
    assert "loss is nan at step 1" in line and str(RUN / "nan_batch.pt") in line
    assert not (RUN / "metrics.json").exists() and not (RUN / "model.safetensors").exists()
    saved = torch.load(RUN / "nan_batch.pt", weights_only=True)
    assert saved["step"] == 1 and saved["epoch"] == 0 and saved["loss"] != saved["loss"]
    batch = saved["batch"]
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert len(batch["input_ids"]) == 32 and batch["attention_mask"].any(1).all()
    assert batch["labels"].shape == (32,)
    assert tsdtp("train", *FAST).code == 0
    assert read_record(RUN).provenance["config_hash"] == saved["config_hash"]
    assert not (RUN / "nan_batch.pt").exists(), "left of a run that is no more"


def test_weights_that_explode_are_caught(tsdtp):
    outcome = tsdtp("train", *FAST, "optim.lr=1e38", "optim.warmup=0")
    assert "at step 1" in one_line(outcome)


def test_a_killed_training_goes_on_from_its_last_whole_checkpoint(tsdtp, monkeypatch):
    real = ClassificationTask.on_validation_epoch_end

    def crash(self):
        if self.current_epoch == 2:
            raise RuntimeError("power cut")
        real(self)

    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "on_validation_epoch_end", crash)
        assert tsdtp("train", *TRAINED, "epochs=3").code != 0
    epochs = [torch.load(path, weights_only=True)["epoch"] for path in (PREVIOUS, LAST)]
    assert epochs == [0, 1]
    truncate(LAST)
    resumed = tsdtp("train", *TRAINED, "epochs=3", "ckpt_path=last")
    assert resumed.code == 0, resumed.err
    [note] = [line for line in resumed.out.splitlines() if "going on from" in line]
    assert str(LAST) in note and note.endswith(str(PREVIOUS))
    assert "epoch 2/3" in resumed.out and "epoch 1/3" not in resumed.out
    made = read_record(RUN).provenance
    [first] = made["earlier"]
    assert "ckpt_path" not in first["command"] and first["code"] == made["code"]
    assert first["seconds"] > 0 and first["date"] <= made["date"]
    truncate(LAST)
    truncate(PREVIOUS)
    line = one_line(tsdtp("train", *TRAINED, "epochs=3", "ckpt_path=last"))
    assert str(LAST) in line and str(PREVIOUS) in line and "ckpt_path=null" in line
    line = one_line(tsdtp("train", *TRAINED, f"ckpt_path={LAST}"))
    assert str(LAST) in line and str(PREVIOUS) not in line


def test_a_benchmark_that_fails_loses_no_training(tsdtp, monkeypatch):
    def out_of_memory(*args, **settings):
        raise torch.OutOfMemoryError("CUDA out of memory.\nSee documentation")

    def trained_again(self, batch):
        raise AssertionError

    command = ["train", *TRAINED, "epochs=1"]
    with monkeypatch.context() as patch:
        patch.setattr("tsdtp.cli.measure.measure", out_of_memory)
        failed = tsdtp(*command, "benchmark.enabled=true")
    assert not (RUN / RECORD_NAME).exists()
    assert one_line(failed).startswith("tsdtp train: the benchmark failed (CUDA out of memory.); ")
    for setting in (settings := ["benchmark.enabled=false", "ckpt_path=last"]):
        assert setting in failed.err
    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "training_step", trained_again)
        assert tsdtp(*command, *settings).code == 0
    record = read_record(RUN)
    assert record.speed is None and "accuracy" in record.quality
    assert from_pretrained(RUN).pruner.progress == 1, "what is over is over, also when resumed"


@pytest.mark.parametrize("named", ["last", str(LAST)])
def test_another_training_is_not_gone_on_with(tsdtp, named):
    assert tsdtp("train", *TRAINED).code == 0
    line = one_line(tsdtp("train", *TRAINED, "epochs=2", "optim.lr=0.5", f"ckpt_path={named}"))
    assert f"{LAST}: of a training with other settings or data (optim.lr: 5e-05 -> 0.5)" in line
    longer = tsdtp("train", *TRAINED, "epochs=2", "hardware=cpu_bf16", f"ckpt_path={named}")
    assert longer.code == 0 and "epoch 1/2" not in longer.out, "how long and where may change"


def test_a_checkpoint_of_other_code_is_not_gone_on_with_unasked(tsdtp):
    assert tsdtp("train", *TRAINED).code == 0
    checkpoint = torch.load(LAST, weights_only=True)
    checkpoint["parts"][-1] |= {"commit": "feedfacefeed", "code": "000000000000"}
    torch.save(checkpoint, LAST)
    longer = ("train", *TRAINED, "epochs=2", f"ckpt_path={LAST}")
    line = one_line(tsdtp(*longer))
    assert "made by other code (feedfacef" in line and "changed_code=keep goes on with it" in line
    assert tsdtp(*longer, "changed_code=keep").code == 0
    (row,) = to_frame([read_record(RUN)]).to_dict("records")
    assert re.match(r"feedfacefe .*, then [0-9a-f]{10} ", row["trained_by"])


def test_a_training_that_has_gone_further_is_not_gone_on_with(tsdtp):
    assert tsdtp("train", *TRAINED, "epochs=2").code == 0
    for end in ("epochs=1", "max_steps=3"):
        line = one_line(tsdtp("train", *TRAINED, "epochs=2", end, f"ckpt_path={LAST}"))
        assert "after 2 epochs, 4 steps, more than this training is to have" in line


def test_a_training_that_ended_within_an_epoch_is_not_gone_on_with(tsdtp):
    assert tsdtp("train", *TRAINED, "epochs=2", "max_steps=3").code == 0
    line = one_line(tsdtp("train", *TRAINED, "epochs=2", f"ckpt_path={LAST}"))
    assert f"{LAST}: saved within an epoch" in line


@pytest.mark.parametrize(
    "ends",
    [
        ["epochs=null", "max_steps=1"],
        ["epochs=9", "callbacks=early_stop", "callbacks.early_stop.patience=1", "optim.lr=1e-9"],
        ["epochs=9", "callbacks=early_stop", "callbacks.early_stop.patience=0", "optim.lr=1e-9"],
    ],
    ids=["within an epoch", "early", "without patience"],
)
def test_a_training_that_was_over_is_not_gone_on_with(tsdtp, ends):
    """As the hint after a failed benchmark promises."""
    assert tsdtp("train", *TRAINED, *ends).code == 0
    steps, weights = (
        torch.load(LAST, weights_only=True)["global_step"],
        (RUN / WEIGHTS).read_bytes(),
    )
    assert steps > 0
    outcome = tsdtp("train", *TRAINED, *ends, "ckpt_path=last")
    assert outcome.code == 0, outcome.err
    assert torch.load(LAST, weights_only=True)["global_step"] == steps
    assert (RUN / WEIGHTS).read_bytes() == weights


def test_a_training_whose_start_has_run_again_is_not_gone_on_with(tsdtp, trained):
    record = trained() / RECORD_NAME
    pruned = [*TRAINED, "pruning=topk", "pruning.budget=0.6", "model.init_from=unpruned"]
    assert tsdtp("train", *pruned).code == 0
    record.write_text(record.read_text().replace('"date": "2', '"date": "3'))
    line = one_line(tsdtp("train", *pruned, "ckpt_path=last"))
    assert "its start or teachers have been run again since" in line
    last = Path(str(LAST).replace("none", "topk-0.6"))
    older = torch.load(last, weights_only=True)
    del older["training"]
    torch.save(older, last)
    outcome = tsdtp("train", *pruned, "epochs=2", "ckpt_path=last")
    assert outcome.code == 0, "a checkpoint of an older version does not say what it is of"


@pytest.mark.parametrize(
    ("number", "epoch", "hint"),
    [
        (signal.SIGTERM, 0, "it had no checkpoint yet to go on from"),
        (signal.SIGINT, 1, "ckpt_path=last goes on from the last checkpoint"),
    ],
)
def test_a_training_that_is_told_to_end_says_so(tsdtp, monkeypatch, number, epoch, hint):
    def told(self):
        if self.current_epoch == epoch:
            os.kill(os.getpid(), number)

    # Of a shell in the foreground, wherever the tests run.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    said, write = [], os.write
    with monkeypatch.context() as patch:
        patch.setattr(ClassificationTask, "on_validation_epoch_end", told)
        patch.setattr(os, "write", lambda to, text: said.append(text) or write(to, text))
        assert tsdtp("train", *TRAINED, "epochs=2").code == 128 + number
    assert f"ended by {number.name}; {hint}\n".encode() in said
    assert signal.signal(signal.SIGINT, before) is signal.default_int_handler
    assert not (RUN / "metrics.json").exists()


def test_a_training_in_the_background_of_a_script_does_not_hear_its_ctrl_c(tsdtp, monkeypatch):
    measure = ClassificationTask.on_validation_epoch_end

    def told(self):
        os.kill(os.getpid(), signal.SIGINT)
        measure(self)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(ClassificationTask, "on_validation_epoch_end", told)
            assert tsdtp("train", *TRAINED).code == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_state_is_kept_after_epochs_without_validation_too(tsdtp):
    assert tsdtp("train", *TRAINED, "epochs=3", "validate_every=2").code == 0
    epochs = [torch.load(path, weights_only=True)["epoch"] for path in (PREVIOUS, LAST)]
    assert epochs == [1, 2]


def test_a_new_training_replaces_the_old_checkpoint(tsdtp):
    for lr in ("1e-5", "1e-3"):
        assert tsdtp("train", *TRAINED, f"optim.lr={lr}").code == 0
    assert sorted(p.name for p in LAST.parent.iterdir()) == [LAST.name, PREVIOUS.name]
    optimizers = [torch.load(p, weights_only=True)["optimizer_states"] for p in (PREVIOUS, LAST)]
    rates = [states[0]["param_groups"][0]["initial_lr"] for states in optimizers]
    assert rates == [1e-5, 1e-3]


@pytest.mark.parametrize("size", [0, 5, 1000])
def test_damaged_weights_are_named(tsdtp, trained, size):
    trained()
    weights = RUN / "model.safetensors"
    os.truncate(weights, size)
    for command in (
        ["train", *FAST, "pruning=topk", "pruning.budget=0.6", f"model.init_from={RUN}"],
        ["eval", f"run={RUN}", "benchmark.enabled=false"],
    ):
        line = one_line(tsdtp(*command))
        assert f"{weights} is damaged" in line


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("task=sst2", ["nyu-mll/glue", "task.data.source=local", "TSDTP_DATA_DIR"]),
        ("model=bert_base", ["google-bert/bert-base-uncased", "cannot be reached"]),
        ("model=bert_base", ["TSDTP_MODEL_DIR", "model.local_dir", "bert-base-uncased/"]),
    ],
)
def test_no_hub(tsdtp, monkeypatch, tmp_path, override, words):
    import datasets
    from huggingface_hub import constants

    for settings in (constants, datasets.config):
        monkeypatch.setattr(settings, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    line = one_line(tsdtp("train", *FAST, override))
    for word in words:
        assert word in line


@pytest.mark.parametrize("first", [False, True])
def test_a_full_disk_at_the_record(tsdtp, monkeypatch, first):
    if first:
        assert tsdtp("train", *FAST, "batch_size=16").code == 0
    real = os.replace

    def full(source, target):
        if Path(target).name == "metrics.json":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        line = one_line(tsdtp("train", *FAST, "overwrite=true"))
    assert f"cannot write {RUN / 'metrics.json'}: No space left on device" in line
    assert (RUN / "model.safetensors").is_file()
    assert not list(RUN.glob("*metrics.json*")), "no half record, none of other weights"
    assert tsdtp("train", *FAST).code == 0
    assert read_record(RUN).provenance["config"]["batch_size"] == 32


def test_a_full_disk_at_a_second_measurement_leaves_the_first(tsdtp, trained, monkeypatch):
    folder = trained()
    before = (folder / RECORD_NAME).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("tsdtp.cli.eval.write_record", Mock(side_effect=OSError("full")))
        outcome = tsdtp("eval", f"run={folder}", "in_place=true")
    assert outcome.code == 2 and "full" in outcome.err
    assert (folder / RECORD_NAME).read_bytes() == before


def test_a_damaged_record(tsdtp, trained):
    for seed in (0, 1):
        trained(f"seed={seed}")
    start = [f"model.init_from={RUN}", "pruning=topk", "pruning.budget=0.6"]
    truncate(RUN / "metrics.json")
    refused = one_line(tsdtp("train", *FAST, *start))
    assert f"model.init_from={RUN}: no finished run in {RUN}" in refused
    line = one_line(tsdtp("train", *FAST))
    assert str(RUN) in line and "metrics.json" in line and "overwrite=true" in line
    report = tsdtp("report", "outputs/runs")
    assert report.code == 0 and "No Pruning" in report.out
    assert "warning:" in report.err and "seed0/metrics.json" in report.err
    assert tsdtp("train", *FAST, "overwrite=true").code == 0
    assert read_record(RUN).identity["seed"] == 0
