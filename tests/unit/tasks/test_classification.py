"""Trainings by Lightning: what is learnt, spent, kept in checkpoints, and when the pruner rests."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from learning import examples, model_of, task_of
from torch.utils.data import DataLoader

from tsdtp.tasks.callbacks import BudgetSchedule


def trainer_of(steps: int, **arguments) -> pl.Trainer:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "accelerator": "cpu",
    }
    return pl.Trainer(max_steps=steps, **{**quiet, **arguments})


def loader(batches: int, seed: int) -> DataLoader:
    return DataLoader(examples(batches, seed), batch_size=None)


@pytest.fixture
def validation() -> DataLoader:
    return loader(8, 9)


@pytest.mark.filterwarnings("ignore")
def test_a_fit_learns_and_spends_its_budget(validation):
    pl.seed_everything(0, verbose=False)
    task = task_of(model_of(budget=0.8))
    trainer = trainer_of(60, gradient_clip_val=1.0, callbacks=[BudgetSchedule(examples(4, 3))])
    trainer.validate(task, validation, verbose=False)
    before = task.summary["quality"]["accuracy"]
    trainer.fit(task, loader(60, 1))
    trainer.validate(task, validation, verbose=False)
    quality, cost = task.summary["quality"], task.summary["cost"]
    assert quality["accuracy"] > max(0.8, before)
    assert quality["n"] == 128
    p = quality["accuracy"]
    assert quality["stderr"] == pytest.approx((p * (1 - p) / 128) ** 0.5)
    assert cost["flops_ratio"] == pytest.approx(0.8, abs=0.03)
    assert len(cost["tokens_kept"]) == 4
    assert 0 <= quality["keep_precision"] <= 1
    assert 0 <= quality["keep_recall"] <= 1


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_is_plain_and_goes_on(tmp_path):
    teacher = model_of("none").eval()
    task, path = task_of(model_of(), teacher), tmp_path / "some.ckpt"
    trainer = trainer_of(3)
    trainer.fit(task, loader(10, 1))
    trainer.save_checkpoint(path)
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["global_step"] == 3
    assert not [k for k in checkpoint["state_dict"] if "teacher" in k]
    resumed = task_of(model_of(), teacher)
    goes_on = trainer_of(5)
    goes_on.fit(resumed, loader(10, 1), ckpt_path=path)
    assert goes_on.global_step == 5
    steps = {s["step"].item() for s in goes_on.optimizers[0].state.values()}
    assert steps == {5}, "the optimizer went on, too"


class Watched(pl.Callback):
    """Notes how every step was executed, and what the pruner weighed after it."""

    def __init__(self) -> None:
        self.executions, self.weights = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        """After the optimizer's step."""
        pruner = pl_module.model.pruner
        self.executions.append(pl_module.model.execution)
        self.weights.append(torch.cat([p.detach().flatten() for p in pruner.parameters()]))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["ts_dtp", "transkimmer", "ltp", "power_bert"])
def test_after_soft_until_the_pruner_rests_and_tokens_are_gone(method):
    pl.seed_everything(0, verbose=False)
    watched = Watched()
    task = task_of(model_of(method, budget=0.8, soft_until=0.5))
    trainer = trainer_of(8, callbacks=[BudgetSchedule(examples(2, 3)), watched])
    trainer.fit(task, loader(8, 1))
    assert watched.executions == ["masked"] * 4 + ["packed"] * 4
    first, last_soft, last = (watched.weights[i] for i in (0, 3, 7))
    assert not torch.equal(first, last_soft) and torch.equal(last_soft, last)


@pytest.mark.filterwarnings("ignore")
def test_the_part_of_the_training_is_counted_over_all_epochs():
    watched = Watched()
    task = task_of(model_of("transkimmer", budget=0.8, soft_until=0.5))
    trainer = trainer_of(-1, max_epochs=2, callbacks=[BudgetSchedule(examples(2, 3)), watched])
    trainer.fit(task, loader(4, 1))
    assert watched.executions == ["masked"] * 4 + ["packed"] * 4
