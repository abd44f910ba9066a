"""Fewer blocks: how many a budget buys, and what they cost."""

from __future__ import annotations

import pytest
import torch
from tiny import SPECIAL, make_batch, make_model

import tsdtp
from tsdtp.models import calibrate, prune
from tsdtp.models.budget import spent_ratio


@pytest.mark.parametrize(("budget", "blocks"), [(0.4, 2), (0.2, 1), (0.6, 3), (1.0, 4)])
def test_a_budget_buys_whole_blocks(budget, blocks):
    model = prune(make_model("bert"), "depth", budget=budget)
    assert model.pruner.depth == 4, "until it is calibrated"
    calibrate(model, [make_batch()])
    assert model.pruner.depth == blocks


@pytest.mark.parametrize("budget", [0.02, 0.1])
def test_less_than_one_block_is_refused_however_near(budget):
    model = prune(make_model("bert"), "depth", budget=budget)
    with pytest.raises(ValueError, match=f"budget={budget}: below what DepthReduction can reach"):
        calibrate(model, [make_batch()])
    assert model.pruner.depth == 4, "as before"


def test_the_head_reads_what_the_last_computed_block_leaves(batch):
    model = prune(make_model("bert"), "depth", budget=0.4).eval()
    batches = [make_batch(seed=s) for s in range(4)]
    assert calibrate(model, batches) == spent_ratio(model, batches) == pytest.approx(0.4, abs=0.05)
    shallow = make_model("bert")
    shallow.bert.encoder.layer = shallow.bert.encoder.layer[:2]
    with torch.inference_mode():
        torch.testing.assert_close(model(**batch).logits, shallow(**batch).logits)


@pytest.mark.parametrize("method", ["none", "ts_dtp", "topk", "tome"])
@pytest.mark.parametrize("family", ["bert", "modernbert", "llama"])
def test_any_method_may_run_on_fewer_blocks(method, family, batch, tmp_path):
    deep, shallow = make_model(family), make_model(family, num_hidden_layers=2)
    shallow.load_state_dict(deep.state_dict(), strict=False)
    torch.manual_seed(0)
    model = prune(deep, method, blocks=2, special_ids=[SPECIAL], execution="masked").eval()
    model.pruner.strictness.fill_(0.4 if method != "none" else 0)
    expected = prune(shallow, "none", special_ids=[SPECIAL]).with_pruner(model.pruner)(**batch)
    for execution in ("masked", "packed"):
        out = model.with_execution(execution)(**batch)
        torch.testing.assert_close(out.logits, expected.logits)
        assert torch.equal(out.tokens_kept[:, :2], expected.tokens_kept)
        assert torch.equal(out.tokens_kept[:, 2:], out.tokens_kept[:, 1:2].expand(-1, 2))
    model.save_pretrained(tmp_path)
    again = tsdtp.from_pretrained(tmp_path, execution="packed")
    torch.testing.assert_close(again(**batch).logits, expected.logits)


def test_a_budget_counts_the_blocks_that_are_left_out():
    model = prune(make_model("bert"), "random", budget=0.3, special_ids=[SPECIAL], blocks=2)
    batches = [make_batch(seed=s) for s in range(4)]
    assert calibrate(model, batches) == pytest.approx(0.3, abs=0.03)
    two = prune(make_model("bert"), "none", blocks=2)
    assert calibrate(model, batches, budget=0.9) == spent_ratio(two, batches) < 0.5
    assert spent_ratio(model.unpruned(), batches) > 0.8, "all blocks"


def test_fewer_blocks_are_counted_as_parts_of_the_whole():
    batches = [make_batch(seed=s) for s in range(2)]
    plain = make_model("bert", num_hidden_layers=12)
    spent = [calibrate(prune(plain, "depth", budget=0.3, blocks=n), batches) for n in (12, 4)]
    assert spent[0] == spent[1] == pytest.approx(0.3, abs=0.05)


def test_one_block_teaches_nothing():
    model = prune(make_model("bert"), "ts_dtp", blocks=1)
    with pytest.raises(ValueError, match="no block prunes.*valid: 2 blocks or more"):
        tsdtp.teach(model, [make_batch()], mask_id=3)


@pytest.mark.parametrize("blocks", [0, 5, 1.5, True])
def test_other_numbers_of_blocks_are_refused(blocks):
    with pytest.raises(ValueError, match=f"model.blocks={blocks}: valid are 1 to 4, or null"):
        prune(make_model("bert"), "none", blocks=blocks)
