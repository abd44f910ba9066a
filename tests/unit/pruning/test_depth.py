"""Fewer blocks: how many a budget buys, and what they cost."""

from __future__ import annotations

import pytest
import torch
from tiny import make_batch, make_model

from tsdtp.models import calibrate, prune
from tsdtp.models.budget import spent_ratio


@pytest.mark.parametrize(("budget", "blocks"), [(0.5, 2), (0.3, 1), (0.7, 3), (0.05, 1), (1.0, 4)])
def test_a_budget_buys_whole_blocks_from_the_first_training_step(make, budget, blocks):
    assert make("depth", budget=budget).train().depth == blocks


def test_other_numbers_of_blocks_are_refused(make):
    assert make("depth", blocks=3).depth == 3
    for blocks in (0, 5):
        with pytest.raises(ValueError, match=f"pruning.blocks={blocks}: valid are 1 to 4"):
            make("depth", blocks=blocks)


def test_the_head_reads_what_the_last_computed_block_leaves(batch):
    model = prune(make_model("bert"), "depth", budget=0.5).eval()
    batches = [make_batch(seed=s) for s in range(4)]
    assert calibrate(model, batches) == spent_ratio(model, batches) == 0.5
    shallow = make_model("bert")
    shallow.bert.encoder.layer = shallow.bert.encoder.layer[:2]
    with torch.inference_mode():
        torch.testing.assert_close(model(**batch).logits, shallow(**batch).logits)
