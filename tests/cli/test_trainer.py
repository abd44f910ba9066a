"""What Lightning's trainer and the model are given, just before they train."""

from __future__ import annotations

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
