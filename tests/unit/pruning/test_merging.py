"""Tokens merged into others: ToMe and summary tokens, by hand."""

from __future__ import annotations

import pytest
import torch
from tiny import SPECIAL, layout_of, make_model

from tsdtp.attention import attend
from tsdtp.models import prune
from tsdtp.pruning.merging import bipartite_match, merge, summary_rows


def kept(decision) -> list[int]:
    return decision.keep.int().tolist()


def test_merging_averages_by_mass_and_adds_the_masses():
    hidden = torch.tensor([[1.0], [3.0], [9.0], [5.0]])
    mass = torch.tensor([1.0, 2.0, 1.0, 4.0])
    merged, total = merge(hidden, mass, torch.tensor([0, 0, 2, 0]))
    assert merged[0].item() == pytest.approx((1 * 1 + 3 * 2 + 5 * 4) / 7)
    assert merged[2].item() == 9, "nothing came in"
    assert total.tolist() == [7, 0, 1, 0]


def test_a_token_without_mass_does_not_count():
    hidden, mass = torch.tensor([[1.0], [3.0]]), torch.tensor([1.0, 0.0])
    assert merge(hidden, mass, torch.tensor([0, 0]))[0][0].item() == 1


@pytest.mark.parametrize("size", [1e-3, 1e-12, 1e-30])
def test_an_average_does_not_depend_on_how_small_all_masses_are(size):
    hidden, mass = torch.tensor([[1.0], [3.0]]), torch.tensor([3.0, 1.0]) * size
    assert merge(hidden, mass, torch.tensor([0, 0]))[0][0].item() == pytest.approx(1.5)


def test_every_second_token_points_to_the_most_similar_of_the_others():
    angle = torch.tensor([0.0, 1.0, 0.9, 0.1, 2.0, 3.0]) * 0.5
    features = torch.stack([angle.cos(), angle.sin()], 1) * torch.arange(1, 7)[:, None]
    alive = torch.ones(6).bool()
    source, similarity, partner = bipartite_match(features, alive, layout_of(6))
    assert source.tolist() == [True, False, True, False, True, False]
    assert partner[source].tolist() == [3, 1, 1], "by angle, whatever the length"
    expected = (torch.tensor([0.1, 0.1, 1.0]) * 0.5).cos()
    torch.testing.assert_close(similarity[source], expected)


def test_tome_merges_the_most_similar_pairs(make, state_of):
    angle = torch.tensor([0.0, 2.0, 1.0, 1.1, 3.0, 2.9, 0.3])
    key = torch.stack([angle.cos(), angle.sin()], 1)[:, None]
    pruner = make("tome", fraction=0.5).eval()
    decision = pruner(state_of([0.1] * 7, key=key))
    # Pairs 2 -> 3 (0.1 apart), 4 -> 5 (0.1 apart), 6 -> 3 (0.8 apart); 0 is protected.
    assert kept(decision) == [1, 1, 0, 1, 1, 1, 1] or kept(decision) == [1, 1, 1, 1, 0, 1, 1]
    whole = make("tome", fraction=1.0).eval()(state_of([0.1] * 7, key=key))
    assert kept(whole) == [1, 1, 0, 1, 0, 1, 0]
    assert whole.into.tolist() == [0, 1, 3, 3, 5, 5, 3]
    assert whole.mass.tolist() == [1] * 7


def test_a_token_that_stands_for_two_is_attended_to_as_two_are():
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 3, 2, 4, generator=generator)
    once, twice = layout_of(3), layout_of(4)
    again = torch.tensor([0, 1, 1, 2])
    mass = torch.tensor([1.0, 2.0, 1.0])
    weighed, _ = attend(q, k, v, once, gate=mass, backend="reference")
    doubled, _ = attend(q[again], k[again], v[again], twice, backend="reference")
    torch.testing.assert_close(weighed[again], doubled)


@pytest.mark.parametrize("execution", ["packed", "masked"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_merging_what_is_equal_changes_no_answer(pooling, execution):
    """Words without positions: both tokens of a pair are one and the same."""
    model = make_model("bert")
    model.bert.embeddings.position_embeddings.weight.data.zero_()
    settings = {"pooling": pooling, "execution": execution, "special_ids": [SPECIAL]}
    pruned = prune(model, "tome", fraction=1.0, layers=[0], **settings)
    ids = torch.tensor([[0, 7, 7, 8, 8, SPECIAL]])
    with torch.inference_mode():
        out, expected = pruned(ids), pruned.unpruned()(ids)
    assert out.tokens_kept[0, 0].item() == 4
    torch.testing.assert_close(out.logits, expected.logits, atol=1e-5, rtol=0)


def test_the_most_important_of_the_dropped_becomes_the_summary():
    dropped = torch.tensor([0, 1, 1, 0, 1, 0]).bool()
    importance = torch.tensor([0.9, 0.1, 0.3, 0.5, 0.2, 0.7])
    nothing, layout = torch.zeros(6).bool(), layout_of(4, 2)
    into, summary = summary_rows(dropped, importance, nothing, layout)
    assert into.tolist() == [0, 2, 2, 3, 4, 5]
    assert summary.tolist() == [False, False, True, False, True, False]
    more = torch.tensor([0, 0, 0, 1, 0, 0]).bool()
    into, after = summary_rows(more, importance, summary, layout)
    assert into.tolist() == [0, 1, 2, 2, 4, 5], "the one that there is gathers the rest"
    assert torch.equal(after, summary)


def test_fusing_averages_by_importance_and_keeps_one_token_more(make, state_of):
    state = state_of([0.9, 1.0, 2.0, 3.0, 4.0])
    plain = make("dtp", k=0, log_scores=False).eval()(state)
    fused = make("dtp", k=0, log_scores=False, fuse="summary").eval()(state)
    assert kept(plain) == [1, 0, 0, 1, 1]
    assert kept(fused) == [1, 0, 1, 1, 1]
    assert fused.summary.tolist() == [False, False, True, False, False]
    hidden, mass = merge(state.hidden, fused.mass, fused.into)
    expected = (1 * state.hidden[1] + 2 * state.hidden[2]) / 3
    torch.testing.assert_close(hidden[2], expected)
    assert mass[2].item() == pytest.approx(3)


def test_a_summary_weighs_all_that_it_has_gathered(make, state_of):
    """It stands for 5 of importance already, whatever importance it has itself by now."""
    summary, mass = torch.tensor([0, 0, 1, 0, 0]).bool(), torch.tensor([1.0, 1, 5, 1, 1])
    state = state_of([0.9, 1.0, 2.0, 3.0, 4.0], protected=(0, 2), summary=summary, mass=mass)
    fused = make("dtp", k=0, log_scores=False, fuse="summary").eval()(state)
    assert fused.into.tolist() == [0, 2, 2, 3, 4]
    hidden, total = merge(state.hidden, fused.mass, fused.into)
    torch.testing.assert_close(hidden[2], (1 * state.hidden[1] + 5 * state.hidden[2]) / 6)
    assert total[2].item() == pytest.approx(6)


def test_each_dropped_token_goes_into_the_most_similar_that_stays(make, state_of):
    state = state_of([9.0, 1.0, 2.0, 3.0, 4.0])
    angle = torch.tensor([1.5, 0.2, 1.4, 0.1, 2.0])  # 1 is nearest to 3 (kept), 2 to 0 (protected)
    state.hidden = torch.stack([angle.cos(), angle.sin()], 1) * torch.arange(1, 6)[:, None]
    fused = make("dtp", k=0, log_scores=False, fuse="similar").eval()(state)
    assert kept(fused) == [1, 0, 0, 1, 1]
    assert fused.into.tolist() == [0, 3, 0, 3, 4]
    hidden, mass = merge(state.hidden, fused.mass, fused.into)
    torch.testing.assert_close(hidden[3], (state.hidden[1] + state.hidden[3]) / 2)
    assert mass.tolist() == [2, 0, 0, 2, 1], "a token weighs as many as it stands for"


def test_another_way_to_fuse_is_refused(make):
    with pytest.raises(ValueError, match="fuse=True: valid are null, summary, similar"):
        make("ts_dtp", fuse=True)
