"""LTP, PoWER-BERT and Transkimmer: soft in training, hard after it, by hand."""

from __future__ import annotations

import math

import pytest
import torch


def kept(decision) -> list[int]:
    return decision.keep.int().tolist()


@pytest.fixture
def ltp(make):
    """Thresholds 0.05, 0.1 and 0.15 in three layers of four."""
    return make("ltp", threshold=0.2)


def test_ltp_drops_what_receives_less_than_the_layers_threshold(ltp, state_of):
    attention = [0.5, 0.04, 0.06, 0.11, 0.16]
    assert kept(ltp.eval()(state_of(attention))) == [1, 0, 1, 1, 1]
    assert kept(ltp(state_of(attention, layer=1))) == [1, 0, 0, 1, 1]
    assert kept(ltp(state_of(attention, layer=2))) == [1, 0, 0, 0, 1]
    ltp.strictness.fill_(math.log(2))  # all thresholds twice as high
    assert kept(ltp(state_of(attention))) == [1, 0, 0, 1, 1]


def test_ltp_is_soft_and_then_hard(ltp, state_of):
    state = state_of([0.5, 0.05, 0.0125, 0.2])
    ltp.train().progress = 0.49
    soft = ltp(state)
    assert kept(soft) == [1] * 4, "nothing is dropped while masks are soft"
    # sigmoid(log(score / threshold) / 0.5): scores of 1, 1/4 and 4 times the threshold
    assert soft.gate[1:].tolist() == pytest.approx([1 / 2, 1 / 17, 16 / 17])
    assert soft.loss.item() == pytest.approx((1 / 2 + 1 / 17 + 16 / 17) / 3)
    (gradient,) = torch.autograd.grad(soft.loss, ltp.shift)
    assert gradient[0] < 0, "the penalty raises the threshold"
    assert gradient[1:].tolist() == [0, 0]
    ltp.progress = 0.5
    hard = ltp(state)
    assert kept(hard) == [1, 1, 0, 1]
    assert hard.gate is None and hard.loss is None, "thresholds are fixed from here on"


def test_with_a_budget_ltp_learns_how_layers_differ(make, state_of):
    pruner = make("ltp", threshold=0.2, budget=0.5).train()
    pruner.strictness.fill_(0.0)
    pruner.shift.data += 0.05
    decision = pruner(state_of([0.5, 0.04, 0.06, 0.11, 0.16], layer=1))
    threshold = 0.1 * math.exp(0.05 * 10)
    assert decision.gate[1].item() == pytest.approx(1 / (1 + (threshold / 0.04) ** 2))
    loss = decision.loss
    (gradient,) = torch.autograd.grad(loss, pruner.shift)
    assert gradient[1] < 0 < gradient[0] == gradient[2]
    assert gradient.sum().item() == pytest.approx(0, abs=1e-6)


def test_ltp_moves_by_its_rate(make, state_of):
    """The shift is in units of 1 / rate: a little of it moves the threshold by much."""
    pruner = make("ltp", threshold=0.2, rate=1.0).train()
    pruner.shift.data += math.log(2)
    gate = pruner(state_of([0.5, 0.1, 0.1, 0.1])).gate[1]
    assert gate.item() == pytest.approx(0.5, abs=1e-3), "0.1 is the threshold now"


@pytest.fixture
def power_bert(make):
    """Two bins a layer, their retentions 0.9 and 0.3, 0.58 and 0.2, and 0.4 and 0."""
    pruner = make("power_bert", bins=2)
    retention = torch.tensor([[0.9, 0.3], [0.58, 0.2], [0.4, 1e-9]])
    pruner.first.copy_(retention.logit())
    return pruner


def test_power_bert_keeps_the_share_that_the_retentions_sum_to(power_bert, state_of):
    attention = [0.9, *(i / 100 for i in range(10))]
    power_bert.eval()
    first = power_bert(state_of(attention))
    assert kept(first) == [1] + [0] * 4 + [1] * 6, "0.6 of ten, the best ones"
    second = power_bert(state_of(attention, layer=1, alive=kept(first)))
    assert sum(kept(second)) == 1 + 4, "0.39 of the ten that there were, rounded up"
    power_bert.strictness.fill_(math.log(2))  # all retentions squared
    assert sum(kept(power_bert(state_of(attention)))) == 1 + math.ceil((0.81 + 0.09) / 2 * 10)


def test_power_bert_asks_for_no_token_again_that_an_earlier_layer_dropped(make, state_of):
    """Retentions of 0.1, 0.8 and 0.4: one of ten is left, and no later layer can take from it."""
    pruner = make("power_bert", bins=2).eval()
    retention = torch.tensor([0.1, 0.8, 0.4]).repeat(2, 1).T
    pruner.first.copy_(retention.logit())
    state = state_of([0.9, 0.3, 0.2], layer=2)
    assert kept(pruner(state)) == [1, 1, 1]


def test_power_bert_weighs_tokens_by_the_retention_of_their_rank(power_bert, state_of):
    power_bert.train().progress = 0.0
    decision = power_bert(state_of([0.9, 0.1, 0.4, 0.3, 0.2]))
    assert kept(decision) == [1] * 5
    # Ranks 3, 0, 1, 2 of four lie at the places -0.25, 0.25, 0.75 and 1.25 between two bins.
    by_rank = [0.9, 0.9 - 0.25 * 0.6, 0.9 - 0.75 * 0.6, 0.3]
    expected = [by_rank[3], by_rank[0], by_rank[1], by_rank[2]]
    assert decision.gate[1:].tolist() == pytest.approx(expected)
    assert decision.loss.item() == pytest.approx(1 / 4 * 0.6)
    later = power_bert(state_of([0.9, 0.1, 0.4, 0.3, 0.2], layer=2))
    assert later.loss.item() == pytest.approx(3 / 4 * 0.2), "later layers are pressed harder"
    power_bert.progress = 0.5
    assert power_bert(state_of([0.9, 0.1, 0.4, 0.3, 0.2])).gate is None


class Logits(torch.nn.Module):
    """A predictor with given answers, learnable so that gradients can be read."""

    def __init__(self, logits) -> None:
        super().__init__()
        self.logits = torch.nn.Parameter(torch.tensor(logits)[:, None])

    def forward(self, hidden):
        return self.logits


def test_transkimmer_keeps_by_the_sign_of_its_predictor(make, state_of):
    pruner = make("transkimmer").eval()
    pruner.predictors["0"] = Logits([-9.0, 0.5, -0.5, 2.0])
    state = state_of([0.25] * 4)
    assert [kept(pruner(state)) for _ in range(3)] == [[1, 1, 0, 1]] * 3, "no noise in evaluation"
    assert pruner(state).gate is None
    pruner.strictness.fill_(1.0)
    assert kept(pruner(state)) == [1, 0, 0, 1]


def test_transkimmer_draws_gumbel_noise_in_training(make, state_of):
    torch.manual_seed(0)
    pruner = make("transkimmer").train()
    pruner.predictors["0"] = Logits([0.0, 1.0, -1.0, 30.0])
    decisions = [pruner(state_of([0.25] * 4)) for _ in range(2000)]
    shares = torch.stack([d.keep.float() for d in decisions]).mean(0)
    # keep with the probability sigmoid(logit)
    assert shares.tolist() == pytest.approx([1, 0.731, 0.269, 1], abs=0.04)
    one = decisions[0]
    assert set(one.gate.tolist()) <= {0.0, 1.0}, "straight through: hard in value"
    (gradient,) = torch.autograd.grad(one.gate[1], pruner.predictors["0"].logits)
    assert gradient[1] > 0
    assert 0 < one.loss < 1


def test_a_cold_transkimmer_pays_for_what_it_keeps(make, state_of):
    """Its loss is the mean of what its gates were before they were made hard."""
    torch.manual_seed(0)
    pruner = make("transkimmer", temperature=1e-3).train()
    pruner.predictors["0"] = Logits([0.0, 1.0, -1.0, 0.5])
    decisions = [pruner(state_of([0.25] * 4)) for _ in range(20)]
    paid = [decision.loss.item() for decision in decisions]
    kept_share = [decision.keep[1:].float().mean().item() for decision in decisions]
    assert paid == pytest.approx(kept_share, abs=0.02) and len(set(kept_share)) > 1


def test_power_bert_moves_by_its_rate(make):
    """The shift is in units of 1 / rate."""
    slow, fast = (make("power_bert", rate=rate) for rate in (1.0, 10.0))
    slow.shift.data += 1.0
    fast.shift.data += 0.1
    torch.testing.assert_close(slow.retention(), fast.retention())
    assert (fast.retention() > make("power_bert").retention()).all()
