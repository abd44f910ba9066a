"""Fewer blocks: how many a budget buys, and what they cost."""

from __future__ import annotations

import pytest
import torch
from tiny import make_batch, make_model

from tsdtp.models import calibrate, prune
from tsdtp.models.budget import spent_ratio


@pytest.mark.parametrize(("budget", "blocks"), [(0.4, 2), (0.2, 1), (0.6, 3), (1.0, 4)])
def test_a_budget_buys_whole_blocks(budget, blocks):
    model = prune(make_model("bert"), "depth", budget=budget)
    assert model.pruner.depth == 4, "until it is calibrated"
    calibrate(model, [make_batch()])
    assert model.pruner.depth == blocks


def test_other_numbers_of_blocks_are_refused(make):
    assert make("depth", blocks=3).depth == 3
    for blocks in (0, 5):
        with pytest.raises(ValueError, match=f"pruning.blocks={blocks}: valid are 1 to 4"):
            make("depth", blocks=blocks)


def test_the_head_reads_what_the_last_computed_block_leaves(batch):
    model = prune(make_model("bert"), "depth", budget=0.4).eval()
    batches = [make_batch(seed=s) for s in range(4)]
    assert calibrate(model, batches) == spent_ratio(model, batches) == pytest.approx(0.4, abs=0.05)
    shallow = make_model("bert")
    shallow.bert.encoder.layer = shallow.bert.encoder.layer[:2]
    with torch.inference_mode():
        torch.testing.assert_close(model(**batch).logits, shallow(**batch).logits)
