"""The bound: tokens chosen by the attributions of the evaluated text itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import FAST

from tsdtp.results import read_record

RUNS = "outputs/runs/synthetic_sentence/tiny_bert"


@pytest.fixture
def oracle(script):
    return script("oracle")


def test_oracles_and_taught_attention_spend_the_same_on_the_unpruned_weights(
    tsdtp, trained, oracle
):
    pruned = ("pruning=ts_dtp", "pruning.budget=0.7", "model.init_from=unpruned", "optim.lr=1e-2")
    trained()
    assert tsdtp("train", *FAST, *pruned).code == 0
    oracle.main([f"{RUNS}/ts_dtp-0.7/seed0", "oracle.json", "--budgets", "0.6"])
    with open("oracle.json") as file:
        found = json.load(file)
    unpruned = read_record(f"{RUNS}/none/seed0").quality["accuracy"]
    assert found["unpruned"]["accuracy"] == unpruned
    assert found["hardware"]["threads"] and found["command"].startswith("python")
    for who in ("taught", "oracle", "relevance"):
        assert found["0.6"][who]["flops_ratio"] == pytest.approx(0.6, abs=0.08)


def test_a_budget_beyond_the_blocks_that_are_left_is_named_at_once(tsdtp, trained, oracle, capsys):
    trained()
    pruned = ("pruning=ts_dtp", "pruning.budget=0.5", "model.init_from=unpruned", "model.blocks=3")
    assert tsdtp("train", *FAST, *pruned).code == 0
    with pytest.raises(SystemExit):
        oracle.main([f"{RUNS}/ts_dtp-0.5/seed0", "oracle.json", "--budgets", "0.5", "0.9"])
    assert "--budgets [0.9]: valid here are 0." in capsys.readouterr().err
    assert not Path("oracle.json").exists()
    _, model = oracle.load(f"{RUNS}/ts_dtp-0.5/seed0")
    assert oracle.oracle_of(model).pruner.num_layers == 3


@pytest.mark.parametrize("by", ["oracle", "relevance"])
def test_an_oracle_keeps_the_tokens_with_the_largest_attributions(tsdtp, trained, oracle, by):
    trained()
    pruned = ("pruning=ts_dtp", "pruning.budget=0.7", "model.init_from=unpruned")
    assert tsdtp("train", *FAST, *pruned, "pruning.layers=[1]").code == 0
    cell, model = oracle.load(f"{RUNS}/ts_dtp-0.7/seed0")
    (batch,) = oracle.attributed(model, cell, [next(iter(cell.data.loader("validation", 8)))], by)
    shares = batch["target"][..., 1]
    torch.testing.assert_close(shares.sum(1), torch.ones(8))
    assert not shares[batch["attention_mask"] == 0].any() and not shares[:, 0].any()
    chosen = oracle.oracle_of(model)
    found = oracle.measured(chosen, [batch], 0.5)
    assert 0 < found["tokens_kept"][-1] < 1
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
    kept = chosen(**inputs, target=batch["target"]).kept_layers == 4
    for row, keep in zip(batch["target"][..., 1], kept, strict=True):
        dropped = row[~keep & (row > 0)]
        assert not len(dropped) or dropped.max() <= row[keep & (row > 0)].min()
