from __future__ import annotations

import math

import pytest
import torch
from tiny import layout_of

from tsdtp.pruning.scores import hashed_uniform, log_share, segment_softmax

LAYOUT = layout_of(3, 2)
ALIVE = torch.tensor([1, 1, 0, 1, 1]).bool()


def test_softmax_over_the_live_tokens_of_each_sequence():
    logits = torch.tensor([0.0, math.log(3), 50, 1000, 1000])
    weights = segment_softmax(logits, ALIVE, LAYOUT)
    torch.testing.assert_close(weights, torch.tensor([0.25, 0.75, 0, 0.5, 0.5]))
    low = segment_softmax(logits.bfloat16() - 2000, ALIVE, LAYOUT)
    assert low.dtype == torch.float32
    assert torch.isfinite(low).all()


def test_softmax_has_torchs_gradient():
    logits = torch.randn(3, dtype=torch.float32, requires_grad=True)
    weight = torch.tensor([1.0, -2, 5])
    ours = segment_softmax(logits, torch.ones(3).bool(), layout_of(3))
    (gradient,) = torch.autograd.grad((ours * weight).sum(), logits)
    (expected,) = torch.autograd.grad((logits.softmax(0) * weight).sum(), logits)
    torch.testing.assert_close(gradient, expected)


def test_average_importance_scores_zero_at_any_length():
    for n in (2, 50):
        scores = log_share(torch.full((n,), 0.3), torch.ones(n).bool(), layout_of(n))
        torch.testing.assert_close(scores, torch.zeros(n))


def test_log_share_is_of_the_live_tokens():
    importance = torch.tensor([1.0, 3, 100, 0.2, 0.2])
    scores = log_share(importance, ALIVE, LAYOUT)
    expected = torch.tensor([math.log(0.5), math.log(1.5), 0, 0])
    torch.testing.assert_close(scores[ALIVE], expected)
    torch.testing.assert_close(log_share(importance * 7, ALIVE, LAYOUT), scores)


def test_log_share_of_nothing_is_finite():
    scores = log_share(torch.tensor([0.0, 1, 0, 1, 1]), ALIVE, LAYOUT)
    assert torch.isfinite(scores).all()
    assert scores[0] < scores[1]


def draws(sequences: list[list[int]], seed: int = 0) -> list[list[float]]:
    """The uniform numbers of a batch of sequences of token ids."""
    lengths = [len(s) for s in sequences]
    ids = torch.tensor([i for s in sequences for i in s])
    drawn = hashed_uniform(ids, layout_of(*lengths), seed)
    return [part.tolist() for part in drawn.split(lengths)]


def test_a_draw_does_not_depend_on_batch_mates():
    ours, other = [5, 9, 9, 7], [8, 8]
    alone = draws([ours])[0]
    assert draws([other, ours])[1] == alone == draws([ours, ours])[1]
    assert len(set(alone)) == 4, "the same word draws anew in every place"


def test_a_draw_is_the_same_for_numbers_of_either_width():
    ids, layout = torch.tensor([5, 9, 7]), layout_of(3)
    assert torch.equal(hashed_uniform(ids.int(), layout, 3), hashed_uniform(ids, layout, 3))


def test_a_draw_depends_on_the_sequence_and_on_the_seed():
    ours = [5, 9, 9, 7]
    alone = draws([ours])[0]
    assert not set(alone) & set(draws([ours], seed=1)[0])
    assert not set(alone) & set(draws([[5, 9, 9, 6]])[0]), "another word elsewhere, another draw"
    assert draws([ours]) == draws([ours])


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_draws_are_uniform(seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(5, 30000, (500, 40), generator=generator)
    drawn = torch.tensor(draws(rows.tolist(), seed)).flatten().sort().values
    assert drawn[0] >= 0 and drawn[-1] < 1
    gap = (drawn - torch.linspace(0, 1, len(drawn))).abs().max()
    assert gap < 1.95 / len(drawn) ** 0.5  # Kolmogorov-Smirnov, p = 0.001
