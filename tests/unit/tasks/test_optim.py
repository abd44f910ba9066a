from __future__ import annotations

import pytest
import torch
from tiny import make_model

from tsdtp.models import prune
from tsdtp.tasks.optim import SCHEDULES, AdamW

OPTIM = AdamW(lr=1e-4, pruner_lr=1e-2, weight_decay=0.1, warmup=0.2)


def settings_by_name(model, optim=OPTIM) -> dict[str, tuple[float, float]]:
    """parameter name -> (lr, weight decay)."""
    optimizer, _ = optim.build(model, 10)
    names = {id(p): name for name, p in model.named_parameters()}
    found = [
        (names[id(p)], (group["initial_lr"], group["weight_decay"]))
        for group in optimizer.param_groups
        for p in group["params"]
    ]
    assert len(found) == len(dict(found)), "a parameter in two groups"
    return dict(found)


def test_every_parameter_has_its_group():
    model = prune(make_model("bert"), "ts_dtp")
    settings = settings_by_name(model)
    assert settings.keys() == dict(model.named_parameters()).keys()
    assert settings["bert.encoder.layer.0.output.dense.weight"] == (1e-4, 0.1)
    assert settings["bert.encoder.layer.0.output.dense.bias"] == (1e-4, 0)
    assert settings["bert.embeddings.LayerNorm.weight"] == (1e-4, 0)
    assert settings["pruner.task_attention.0.feature_layer.weight"] == (1e-2, 0.1)
    assert settings["pruner.task_attention.0.query"] == (1e-2, 0)


def test_frozen_parameters_are_left_out():
    model = prune(make_model("bert"), "ts_dtp_notebook")
    model.hf_model.bert.embeddings.requires_grad_(False)
    settings = settings_by_name(model)
    assert not [name for name in settings if "embeddings" in name or name.startswith("pruner.")]


def test_adam_is_as_told():
    optimizer, _ = AdamW(betas=(0.8, 0.95), eps=1e-6).build(prune(make_model("bert"), "none"), 10)
    assert (optimizer.defaults["betas"], optimizer.defaults["eps"]) == ((0.8, 0.95), 1e-6)


def rates(schedule: str, steps: int = 10) -> list[float]:
    """Rates of the model over a training, as fractions of the highest."""
    optim = AdamW(lr=1e-4, warmup=0.2, schedule=schedule)
    optimizer, scheduler = optim.build(prune(make_model("bert"), "none"), steps)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"] / 1e-4)
        optimizer.step()
        scheduler.step()
    return found


def test_rates_rise_and_fall():
    assert rates("linear") == pytest.approx([0, 0.5, *(1 - i / 8 for i in range(8))])
    assert rates("constant") == [1.0] * 10
    with pytest.raises(ValueError, match="zigzag"):
        rates("zigzag")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_schedule_that_is_called_valid_runs(schedule):
    assert max(rates(schedule)) == pytest.approx(1)


def test_steps_move_the_pruner_faster(batch):
    model = prune(make_model("bert"), "ts_dtp").train()
    before = {name: p.clone() for name, p in model.named_parameters()}
    optimizer, _ = AdamW(lr=1e-4, pruner_lr=1e-2, warmup=0.0).build(model, 10)
    model(**batch, labels=torch.zeros(6, dtype=torch.long)).loss.backward()
    optimizer.step()
    moved = {n: (p - before[n]).abs().max().item() for n, p in model.named_parameters()}
    assert moved["pruner.task_attention.0.query"] == pytest.approx(1e-2, rel=0.05)
    assert moved["bert.encoder.layer.0.output.dense.weight"] == pytest.approx(1e-4, rel=0.05)
