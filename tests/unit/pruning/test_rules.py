from __future__ import annotations

import math

import pytest
import torch
from tiny import layout_of

from tsdtp.packing import Layout
from tsdtp.pruning.rules import dynamic_threshold, masked_mean_std, segment_sum, top_fraction
from tsdtp.pruning.scores import log_share


def everything(scores) -> torch.Tensor:
    return torch.ones(len(scores), dtype=torch.bool)


def strictness(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_sums_per_sequence():
    assert segment_sum(torch.arange(5.0), layout_of(2, 0, 3)).tolist() == [1, 0, 9]


def test_mean_and_deviation_see_the_chosen_tokens_only():
    scores = torch.tensor([1.0, 3, 999, 5, 5, -999, 7])
    chosen = torch.tensor([1, 1, 0, 1, 1, 0, 0]).bool()
    mean, std = masked_mean_std(scores, chosen, layout_of(3, 3, 1))
    assert mean.tolist() == [2, 5, 0]
    assert std.tolist() == [1, 0, 0]


def test_what_is_not_chosen_may_be_infinite():
    scores = torch.tensor([1.0, 3, float("inf"), float("nan")])
    mean, std = masked_mean_std(scores, torch.tensor([1, 1, 0, 0]).bool(), layout_of(4))
    assert (mean.item(), std.item()) == (2, 1)


def test_the_threshold_is_each_sequences_own():
    scores = torch.tensor([1.0, 3, 10, 30])
    threshold = dynamic_threshold(scores, everything(scores), layout_of(2, 2), strictness(-0.5))
    assert threshold.tolist() == [1.5, 1.5, 15, 15]


@pytest.mark.parametrize("extreme", [math.inf, -math.inf])
def test_an_infinite_strictness_is_the_threshold(extreme):
    """0 deviation times infinity would be no number."""
    scores = torch.ones(3)
    threshold = dynamic_threshold(scores, everything(scores), layout_of(3), strictness(extreme))
    assert threshold.tolist() == [extreme] * 3


def sequences_of_64(scores) -> Layout:
    return layout_of(*[64] * (len(scores) // 64))


def pruned_at_one_deviation(scores) -> float:
    """Share of tokens below the mean - std of their sequence of 64."""
    layout = sequences_of_64(scores)
    threshold = dynamic_threshold(scores, everything(scores), layout, strictness(-1.0))
    return (scores < threshold).double().mean().item()


def test_one_deviation_prunes_a_sixth_of_normal_and_next_to_nothing_of_skewed_scores():
    normal = torch.randn(64 * 4000, generator=torch.Generator().manual_seed(0)).double()
    skewed = normal.exp()
    assert pruned_at_one_deviation(normal) == pytest.approx(0.158, abs=0.003)
    assert pruned_at_one_deviation(skewed) == pytest.approx(0.007, abs=0.001)
    logs = log_share(skewed, everything(skewed), sequences_of_64(skewed))
    assert pruned_at_one_deviation(logs) == pytest.approx(0.158, abs=0.003)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_no_scores_lose_more_than_chebyshev_allows(k):
    """mean - k * std has at most 1 / (1 + k^2) below it, whatever the scores (Cantelli)."""
    worst = torch.tensor([0.0] + [1.0] * (k**2 + 1))
    threshold = dynamic_threshold(worst, everything(worst), layout_of(len(worst)), strictness(-k))
    assert 0 < (worst < threshold).double().mean() <= 1 / (1 + k**2)


def test_the_best_fraction_of_each_sequence_stays():
    scores = torch.tensor([0.1, 0.9, 0.5, 0.7, 3.0, 1.0, 2.0])
    keep = top_fraction(scores, everything(scores), layout_of(4, 3), 0.5)
    assert keep.int().tolist() == [0, 1, 0, 1, 1, 0, 1]


def test_ties_go_to_the_earlier():
    keep = top_fraction(torch.zeros(7), everything(range(7)), layout_of(4, 3), 0.5)
    assert keep.int().tolist() == [1, 1, 0, 0, 1, 1, 0]


def test_the_fraction_is_of_the_chosen():
    scores = torch.tensor([9.0, 1, 2, 3, 4, 9])
    chosen = torch.tensor([0, 1, 1, 1, 1, 0]).bool()
    assert top_fraction(scores, chosen, layout_of(6), 0.5).int().tolist() == [0, 0, 0, 1, 1, 0]
    assert not top_fraction(scores, ~everything(scores), layout_of(6), 1.0).any()


@pytest.mark.parametrize(
    ("n", "fraction", "count"),
    [(25, 0.28, 7), (30, 0.1, 3), (10, 0.31, 4), (7, 1.0, 7), (7, 0.0, 0), (7, 0.01, 1)],
)
def test_counts_are_rounded_up_but_not_by_a_rounding_error(n, fraction, count):
    scores = torch.arange(float(n))
    assert top_fraction(scores, everything(scores), layout_of(n), fraction).sum() == count
    assert (
        top_fraction(scores, everything(scores), layout_of(n), strictness(fraction)).sum() == count
    )
