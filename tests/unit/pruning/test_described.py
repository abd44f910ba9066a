"""Scores from queries and keys, against loops."""

from __future__ import annotations

import pytest
import torch
from tiny import layout_of

from tsdtp.pruning.scores import attention_from_first, attention_received

LAYOUT = layout_of(3, 4)
ALIVE = torch.tensor([1, 1, 1, 1, 0, 1, 1]).bool()


def parts():
    """Rows of the live tokens of each sequence."""
    return [torch.tensor([0, 1, 2]), torch.tensor([3, 5, 6])]


def test_attention_received_is_the_mean_over_live_queries():
    query, key = torch.randn(2, 7, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(7)
    for rows in parts():
        scores = query[rows] @ key[rows].T / 5**0.5
        expected[rows] = scores.softmax(-1).mean(0)
    torch.testing.assert_close(attention_received(query, key, ALIVE, LAYOUT), expected)


def test_attention_from_first_is_the_first_row_of_all_heads():
    query, key = torch.randn(2, 7, 2, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(7)
    for rows in parts():
        scores = torch.einsum("ihd,jhd->hij", query[rows], key[rows]) / 4**0.5
        expected[rows] = scores.softmax(-1)[:, 0].mean(0)
    torch.testing.assert_close(attention_from_first(query, key, ALIVE, LAYOUT), expected)


def test_ts_dtp_as_described_adds_gamma_times_the_received_task_attention(make, state_of):
    pruner = make("ts_dtp_described", gamma=0.5, k=1.0).eval()
    attention = [0.4, 0.1, 0.3, 0.15, 0.05]
    state = state_of(attention)
    part = pruner.task_attention["0"]
    with torch.no_grad():
        query = part.task_specific_weight(state.hidden)
        key = part.feature_layer(state.embeddings)
        task = (query @ key.T / query.shape[-1] ** 0.5).softmax(-1).mean(0)
        decision = pruner(state)
    importance = torch.tensor(attention) + 0.5 * task
    torch.testing.assert_close(decision.memory, importance)
    rest = importance[1:]  # the first is protected
    threshold = rest.mean() - rest.std(correction=0)
    assert decision.keep.tolist() == [True, *(rest >= threshold).tolist()]


def test_a_static_threshold_is_one_number_for_all(make, state_of):
    pruner = make("dtp").eval()
    hybrid = make("ts_dtp", static_threshold=True, own_attention=False, k=0.01).eval()
    even = state_of([0.2] * 5)
    even.hidden = even.hidden[:1].expand(5, -1)
    even.embeddings = even.embeddings[:1].expand(5, -1)
    assert hybrid(even).keep.all(), "a share of 1 is not below exp(-0.01)"
    hybrid.strictness.fill_(0.01)
    assert hybrid(even).keep.tolist() == [True, False, False, False, False]
    assert pruner(even).keep.all(), "whereas mean - k * std of equal scores lets all stay"


def test_learned_gammas_are_one_a_layer(make, state_of):
    pruner = make("ts_dtp", gamma=2.0, learn_gamma=True, own_attention=True).train()
    assert pruner.log_gamma.exp().tolist() == pytest.approx([2.0] * 3)
    decision = pruner(state_of([0.4, 0.1, 0.3, 0.2], layer=1))
    (gradient,) = torch.autograd.grad(decision.memory.sum(), pruner.log_gamma)
    assert gradient.tolist() == pytest.approx([0, 2.0, 0]), "the task attention sums to 1"
    with pytest.raises(ValueError, match="learn_gamma=true: valid with pruning.own_attention=true"):
        make("ts_dtp", learn_gamma=True, own_attention=False)
