"""What Lightning's trainer and the model are given, just before they train."""

from __future__ import annotations

import os
import signal
import subprocess
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
from tiny import FAST


@pytest.fixture
def begun(tsdtp, monkeypatch):
    """`begun(...)` is the trainer and the task of `tsdtp train ...`, which stops there."""

    def begin(*arguments: str) -> tuple[pl.Trainer, pl.LightningModule]:
        given = []

        def fit(trainer, task, *_, **__):
            given.append((trainer, task))
            raise SystemExit(0)

        monkeypatch.setattr(pl.Trainer, "fit", fit)
        outcome = tsdtp("train", *FAST, *arguments)
        assert given, outcome.err
        return given[0]

    return begin


def test_the_trainer_is_as_told(begun):
    trainer, _ = begun("gradient_clip=0.25", "hardware.precision=bf16-mixed")
    assert (trainer.gradient_clip_val, trainer.precision) == (0.25, "bf16-mixed")


@pytest.mark.parametrize("freeze", ["true", "false"])
def test_a_taught_pruner_is_frozen_where_told(begun, trained, freeze):
    trained()
    pruned = ("pruning=ts_dtp", "pruning.budget=0.6", "model.init_from=unpruned")
    _, task = begun(*pruned, f"teaching.freeze={freeze}")
    assert task.model.pruner.learns == (freeze == "false")


def test_a_pretrained_model_trains_with_dropout(begun, own):
    """It comes in evaluation mode, and Lightning keeps what it finds."""
    data = ("task=text_classification", "task.data.local_dir=my_data", "task.data.max_length=32")
    columns = ("task.data.text_columns=[text]", "task.data.label_names=[no,yes]")
    _, task = begun(*data, *columns, "model=own", "model.path=my_classifier")
    assert all(module.training for module in task.model.modules())


@pytest.fixture
def beside():
    """A process that trains beside this one, as far as Lightning knows."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def test_told_to_end_before_it_trains_it_ends_those_beside_it(tsdtp, monkeypatch, beside):
    """They would wait for it half an hour."""

    def fit(trainer, *_, **__):
        trainer.strategy._launcher = SimpleNamespace(procs=[beside])
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(pl.Trainer, "fit", fit)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert tsdtp("train", *FAST).code == 128 + signal.SIGTERM
    assert beside.wait(10) == -signal.SIGKILL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_process_that_ended_beside_it_is_what_is_told(tsdtp, monkeypatch, beside):
    def fit(trainer, *_, **__):
        trainer.strategy._launcher = SimpleNamespace(procs=[beside])
        beside.kill()
        beside.wait()
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(pl.Trainer, "fit", fit)
    outcome = tsdtp("train", *FAST)
    assert outcome.code == 2
    [line] = [line for line in outcome.err.splitlines() if line.startswith("tsdtp train: ")]
    assert "process 1 of this training ended by SIGKILL" in line
    assert "train_ddp_process_1.log" in line and "ckpt_path=last" in line


def test_an_error_while_those_beside_it_run_is_told_as_it_is(tsdtp, monkeypatch, beside):
    def fit(trainer, *_, **__):
        trainer.strategy._launcher = SimpleNamespace(procs=[beside])
        raise RuntimeError("another fault")

    monkeypatch.setattr(pl.Trainer, "fit", fit)
    outcome = tsdtp("train", *FAST)
    assert outcome.code == 1 and "another fault" in outcome.err
    assert beside.wait(10) == -signal.SIGKILL


def test_a_training_that_goes_on_is_not_taught_again(tsdtp, trained):
    trained()
    pruned = ("pruning=ts_dtp", "pruning.budget=0.6", "model.init_from=unpruned")
    settings = (*FAST, *pruned, "teaching.freeze=false", "callbacks=default", "max_steps=-1")
    assert "teaching:" in tsdtp("train", *settings).out
    longer = tsdtp("train", *settings, "epochs=2", "ckpt_path=last", "overwrite=true")
    assert longer.code == 0, longer.err
    assert "epoch 2/2" in longer.out and "teaching:" not in longer.out
