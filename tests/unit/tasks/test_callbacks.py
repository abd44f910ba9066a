from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny import make_batch, make_model

from tsdtp.models import prune
from tsdtp.models.budget import spent_ratio
from tsdtp.tasks.callbacks import BudgetSchedule, EpochLine


@pytest.mark.parametrize(
    ("progress", "budget"), [(0, 1), (0.1, 1), (0.2, 0.85), (0.3, 0.7), (0.5, 0.4), (1, 0.4)]
)
def test_the_budget_falls_after_the_warmup(progress, budget):
    schedule = BudgetSchedule([], warmup=0.1, ramp=0.4)
    assert schedule.budget_at(progress, 0.4) == pytest.approx(budget)


def test_without_a_ramp_it_falls_at_once():
    schedule = BudgetSchedule([], warmup=0.3, ramp=0)
    assert [schedule.budget_at(p, 0.4) for p in (0, 0.29, 0.3, 1)] == [1, 1, 0.4, 0.4]
    assert BudgetSchedule([], warmup=0, ramp=0).budget_at(0, 0.4) == 0.4


class Recorded(BudgetSchedule):
    """Notes what it would calibrate to."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.calls = []

    def _calibrate(self, pl_module, budget) -> None:
        self.calls.append(round(budget, 6))


def train(
    schedule, budget: float | None, steps=20, ramps=True, soft_until=1.0, batches_per_step=1
) -> list:
    pruner = SimpleNamespace(budget=budget, ramps=ramps, soft_until=soft_until)
    module = SimpleNamespace(model=SimpleNamespace(pruner=pruner))
    schedule.on_train_start(None, module)
    for batch in range(steps * batches_per_step):
        step = batch // batches_per_step
        trainer = SimpleNamespace(global_step=step, estimated_stepping_batches=steps)
        schedule.on_train_batch_start(trainer, module, None, batch)
    schedule.on_train_end(None, module)
    return schedule.calls


def test_it_updates_as_often_as_told_and_once_more_in_the_end():
    schedule = Recorded([], warmup=0.0, ramp=0.5, updates=4)
    assert train(schedule, 0.4) == [1, 0.7, 0.4, 0.4, 0.4]


def test_batches_that_accumulate_to_a_step_are_one_update():
    schedule = Recorded([], warmup=0.0, ramp=0.5, updates=4)
    assert train(schedule, 0.4, batches_per_step=8) == [1, 0.7, 0.4, 0.4, 0.4]
    assert train(schedule, 0.4)[5:] == [1, 0.7, 0.4, 0.4, 0.4], "another training with it"


def test_what_cannot_fade_out_starts_at_its_budget():
    assert train(Recorded([], updates=4), 0.4, ramps=False) == [0.4] * 5


def test_without_a_ramp_it_has_its_budget_at_once():
    assert train(Recorded([], updates=1, warmup=0, ramp=0), 0.4) == [0.4, 0.4]


def test_few_updates_do_not_miss_where_the_budget_turns():
    schedule = Recorded([], updates=1, warmup=0.1, ramp=0.4)
    assert train(schedule, 0.4, soft_until=0.3) == [1, 1, 0.7, 0.4, 0.4]


@pytest.mark.parametrize(("steps", "updates"), [(39, 20), (59, 20), (399, 20), (7, 4)])
def test_there_are_never_more_updates_than_told(steps, updates):
    calls = train(Recorded([], updates=updates), 0.4, steps=steps, ramps=False)
    assert updates / 2 < len(calls) - 1 <= updates


def test_more_updates_than_steps():
    assert len(train(Recorded([], updates=100), 0.4, steps=3)) == 3 + 1


def test_without_a_budget_it_does_nothing():
    assert train(Recorded([]), None) == []


def test_it_calibrates_the_model():
    model = prune(make_model("bert"), "topk", budget=0.6).train()
    plugin = SimpleNamespace(forward_context=lambda: torch.autocast("cpu", enabled=False))
    strategy = SimpleNamespace(model=model, precision_plugin=plugin, broadcast=lambda x: x)
    module = SimpleNamespace(
        model=model,
        device=torch.device("cpu"),
        trainer=SimpleNamespace(strategy=strategy),
    )
    batches = [{**make_batch(seed=s), "labels": torch.zeros(6)} for s in range(3)]
    BudgetSchedule(batches).on_train_end(None, module)
    inputs = [{k: v for k, v in batch.items() if k != "labels"} for batch in batches]
    assert 0 < model.pruner.strictness < 1
    assert model.training
    assert spent_ratio(model.eval(), inputs) == pytest.approx(0.6, abs=0.02)


def test_the_epoch_line_of_a_training_whose_steps_alone_are_limited(capsys):
    line, metrics = EpochLine(), {"val/bleu": torch.tensor(1.0), "val/flops_ratio": torch.tensor(1)}
    trainer = SimpleNamespace(
        callback_metrics=metrics, sanity_checking=False, current_epoch=1, max_epochs=-1
    )
    line.on_fit_start(trainer, None)
    line.on_validation_end(trainer, SimpleNamespace(metric="bleu"))
    assert capsys.readouterr().out.startswith("epoch 2  bleu")


@pytest.mark.parametrize("name", ["accuracy", "bleu"])
def test_the_epoch_line(capsys, name):
    line, task = EpochLine(), SimpleNamespace(metric=name)
    metrics = {f"val/{name}": torch.tensor(0.875), "val/flops_ratio": torch.tensor(0.5)}
    trainer = SimpleNamespace(
        callback_metrics=metrics, sanity_checking=False, current_epoch=1, max_epochs=3
    )
    line.on_fit_start(trainer, task)
    line.on_validation_end(trainer, task)
    assert capsys.readouterr().out.startswith(
        f"epoch 2/3  {name} 0.8750  FLOPs 0.500 of the plain encoder"
    )
    trainer.sanity_checking = True
    line.on_validation_end(trainer, task)
    assert capsys.readouterr().out == ""
