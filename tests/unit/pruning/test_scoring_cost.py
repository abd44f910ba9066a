"""What scoring costs: what torch counts of it, and by hand what torch has no formula for."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tsdtp.models.cost import EncoderShape, decision_flops

D, N = 8, 6  # features, tokens
VECTOR = {torch.ops.aten.mv: lambda matrix, vector, **_: 2 * matrix[0] * matrix[1]}


def said(pruner) -> float:
    return pruner.flops(0, torch.tensor(float(N))).item()


@pytest.fixture
def counted(state_of):
    """A pruner -> what torch counts when it decides about N tokens."""

    def count(pruner) -> int:
        state = state_of([0.9, 0.1, 0.2, 0.3, 0.4, 0.5])
        counter = FlopCounterMode(display=False, custom_mapping=VECTOR)
        with torch.no_grad(), counter:
            pruner.eval()(state)
        return counter.get_total_flops()

    return count


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("transkimmer", {}),
        ("ts_dtp", {}),
        ("ts_dtp", {"context": True}),
        ("ts_dtp", {"embedding_features": False, "task_feature_dim": 5}),
        ("ts_dtp_notebook", {}),
        ("tome", {}),
    ],
)
def test_scoring_costs_what_torch_counts(make, counted, method, arguments):
    pruner = make(method, **arguments)
    assert said(pruner) == counted(pruner) > 0


def test_the_mean_over_queries_costs_a_product_more_than_torch_counts(make, counted):
    pruner = make("ts_dtp_described", task_feature_dim=16)
    features, pairs, mean = 2 * (2 * N * D * 16), 2 * N * N * 16, 2 * N * N
    assert said(pruner) == features + pairs + mean
    assert counted(pruner) == features + pairs


def test_one_query_meets_all_keys(make):
    assert said(make("cls_attention")) == 2 * N * D


@pytest.mark.parametrize("method", ["dtp", "ts_dtp"])
def test_fusing_compares_two_halves_of_the_tokens_at_most(make, counted, method):
    shape, lengths = EncoderShape(4, D, 2 * D, num_heads=2), torch.tensor(float(N))
    plain, fusing = make(method, k=0), make(method, k=0, fuse="similar")
    spent, more = (decision_flops(shape, pruner, 0, lengths).item() for pruner in (plain, fusing))
    assert more - spent == 2 * (N / 2) * (N / 2) * D
    assert 0 < counted(fusing) - counted(plain) <= more - spent
    averaging = make(method, fuse="summary")
    assert decision_flops(shape, averaging, 0, lengths).item() == spent
