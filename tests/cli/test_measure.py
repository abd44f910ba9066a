"""What a benchmark compares."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny import SPECIAL, make_batch, make_model, make_seq2seq

from tsdtp.cli import measure
from tsdtp.cli.build import device_of
from tsdtp.cli.config import HYDRA_VERSION_BASE, config_dir
from tsdtp.cli.measure import fit_budget, forwards, training_batches
from tsdtp.models import prune


def test_the_pruned_model_meets_itself_unpruned_and_the_plain_one(batch):
    model = prune(make_model("bert"), "topk", fraction=0.3, special_ids=[SPECIAL]).eval()
    plain_forwards = []
    model.hf_model.register_forward_hook(lambda *_: plain_forwards.append(1))
    out, plain = {}, {}
    for name, forward in forwards(model).items():
        plain_forwards.clear()
        with torch.inference_mode():
            out[name] = forward(batch)
        plain[name] = len(plain_forwards)
    assert plain == {"pruned": 0, "unpruned": 0, "plain": 1}
    assert torch.equal(out["unpruned"].tokens_kept[:, -1], out["unpruned"].tokens_entered)
    assert out["pruned"].tokens_kept[:, -1].sum() < 0.5 * out["pruned"].tokens_entered.sum()
    torch.testing.assert_close(out["unpruned"].logits, out["plain"].logits, atol=1e-5, rtol=0)
    assert not torch.allclose(out["pruned"].logits, out["plain"].logits, atol=1e-3)


@pytest.mark.parametrize("start", [0.0, 1.0, 2.0])
def test_a_small_saving_is_met_as_closely_for_its_size(monkeypatch, start):
    model = prune(make_seq2seq("marian"), "dtp", budget=0.96, layers=[1])
    model.pruner.strictness.fill_(start)
    batches = [make_batch((12,) * 32, seed) for seed in range(8)]
    monkeypatch.setattr(measure, "training_batches", lambda *_: batches)
    cell: Any = SimpleNamespace(config=OmegaConf.create("budget_schedule: {final_examples: 256}"))
    assert fit_budget(model, cell) == pytest.approx(0.96, abs=0.0008)


@pytest.mark.parametrize(("devices", "index"), [("1", 0), ("-1", 0), ("[3]", 3), ("[2,3]", 2)])
def test_what_trains_on_some_gpu_is_measured_on_it(monkeypatch, devices, index):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        config = compose("train", ["hardware=gpu", f"hardware.devices={devices}"])
    assert device_of(config) == torch.device("cuda", index)


def test_thresholds_and_task_attentions_see_training_data_alone():
    asked = []

    def loader(split, batch_size, **settings):
        asked.append((split, batch_size, settings["shuffle"], settings["seed"]))
        return [{"input_ids": torch.zeros(4, 3), "attention_mask": torch.ones(4, 3)}] * 9

    data = SimpleNamespace(loader=loader, reported="validation")
    config = OmegaConf.create({"eval_batch_size": 4, "seed": 3, "task": {}})
    cell: Any = SimpleNamespace(data=data, config=config)
    assert [len(batch["input_ids"]) for batch in training_batches(cell, 10)] == [4, 4, 2]
    assert asked == [("train", 4, True, 4)]
