from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from tiny import layout_of
from torch import nn

from tsdtp.pruning.task_attention import TaskSpecificAttention


class Fixed(nn.Module):
    """A task attention with given logits, learnable so that gradients can be read."""

    def __init__(self, logits) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, state):
        return self.logits


def taught_by(make, shares, **arguments):
    """ts_dtp in training whose task attention over one sequence is `shares`."""
    pruner = make("ts_dtp", **arguments).train()
    pruner.task_attention["0"] = Fixed([math.log(s) for s in shares])
    return pruner


@pytest.fixture
def taught(make):
    """(shares, **arguments) -> ts_dtp in training with that task attention."""
    return partial(taught_by, make)


def test_ts_dtp_adds_gamma_times_the_task_attention(state_of, taught):
    shares, attention = [0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.4, 0.1]
    hybrid = taught(shares, gamma=2.0, own_attention=True)(state_of(attention))
    assert hybrid.memory.tolist() == pytest.approx([0.45, 0.65, 1.0, 0.9])
    late = taught(shares, gamma=2.0, decay=0.5, own_attention=True)(
        state_of(attention, memory=hybrid.memory)
    )
    assert late.memory.tolist() == pytest.approx([0.675, 0.975, 1.5, 1.35])
    alone = taught(shares, gamma=2.0)
    assert not alone.needs_attention
    state = state_of(attention)
    state.attention = None
    decision = alone(state)
    assert decision.memory.tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_context_in_half_precision_is_of_the_sequence_alone(state_of):
    """Adding up in bfloat16 sticks at some number of tokens, and another one beside others."""
    torch.manual_seed(0)
    attend = TaskSpecificAttention(8, 4, context=True).bfloat16()
    n = 1000
    one = {"hidden": torch.rand(n, 8).bfloat16() + 3, "embeddings": torch.rand(n, 8).bfloat16()}
    two = {name: torch.cat([x, x]) for name, x in one.items()}
    alone = attend(state_of([0.1] * n, **one))
    together = attend(state_of([0.1] * (2 * n), **two, layout=layout_of(n, n)))
    torch.testing.assert_close(together, torch.cat([alone, alone]), atol=1e-3, rtol=0)


def test_context_is_of_the_tokens_that_are_left(state_of):
    torch.manual_seed(0)
    attend = TaskSpecificAttention(8, 4, context=True)
    state = state_of([0.2] * 5, alive=[1, 1, 0, 1, 1])
    before = attend(state)
    state.hidden[2] += torch.randn(8)
    live = state.alive
    torch.testing.assert_close(attend(state)[live], before[live])
    state.hidden[1] += torch.randn(8)
    assert not torch.allclose(attend(state)[3:], before[3:])


def test_gates_with_noise_draw_what_stays_in_training_alone(state_of, taught):
    torch.manual_seed(0)
    pruner = taught([0.2, 0.05, 0.5, 0.15, 0.1], k=0.75, gate_noise=True)
    state = state_of([0.2] * 5)
    decisions = [pruner(state) for _ in range(2000)]
    assert all(set(d.gate.tolist()) <= {0.0, 1.0} for d in decisions)
    assert all(torch.equal(d.gate[1:], d.keep[1:].float()) for d in decisions)
    shares = torch.stack([d.keep.double() for d in decisions]).mean(0)[1:]
    pruner.gate_noise = False
    plain = pruner(state)
    assert (shares > 0).all() and (shares < 1).all(), "each stays at times"
    assert torch.equal(shares > 0.5, plain.keep[1:]), "mostly what lies above the threshold"
    order = torch.tensor([0.05, 0.5, 0.15, 0.1]).argsort()
    assert torch.equal(shares.argsort(), order), "the more attention, the more often"
    pruner.gate_noise = True
    pruner.eval()
    assert all(torch.equal(pruner(state).keep, plain.keep) for _ in range(5))


@pytest.mark.parametrize("alive", [[1, 1, 1, 1, 1], [1, 1, 0, 1, 1]])
def test_the_gate_is_the_hard_decision_and_has_a_gradient(state_of, taught, alive):
    pruner = taught([0.2, 0.05, 0.5, 0.15, 0.1], k=0.5)
    decision = pruner(state_of([0.2] * 5, alive=alive))
    live = torch.tensor(alive).bool()
    assert torch.equal(decision.gate[live][1:], decision.keep[live][1:].float())
    assert 0 < decision.keep.sum() < live.sum()
    (gradient,) = torch.autograd.grad(decision.gate[1], pruner.task_attention["0"].logits)
    assert gradient[1] > 0, "more task attention, more likely to stay"


def test_equal_tokens_stay_or_go_together(state_of, taught):
    """None of them lies below a threshold that is their mean."""
    pruner = taught([0.25] * 4, k=0.0).eval()
    assert pruner(state_of([0.25] * 4)).keep.all()


def test_the_threshold_is_that_of_the_tokens_that_may_go(state_of, taught):
    """By the mean of all, the protected first token's included, the last would go, too."""
    pruner = taught([0.9, 0.01, 0.03, 0.06], k=0.0).eval()
    assert pruner(state_of([0.25] * 4)).keep.tolist() == [True, False, False, True]


def test_a_gate_moves_its_own_score_and_no_threshold(state_of, taught):
    """Its gradient is that of a log softmax: 1 less its own share, less that of each other."""
    shares = [0.1, 0.2, 0.3, 0.4]
    pruner = taught(shares, k=0.5)
    gate = pruner(state_of([0.25] * 4)).gate[1]
    (gradient,) = torch.autograd.grad(gate, pruner.task_attention["0"].logits)
    relative = (gradient / gradient[1] * (1 - shares[1])).tolist()
    assert relative == pytest.approx([-0.1, 0.8, -0.3, -0.4])


def test_a_warmer_gate_learns_more_slowly(state_of, taught):
    def gradient(temperature: float) -> float:
        pruner = taught([0.1, 0.2, 0.3, 0.4], k=0.5, temperature=temperature)
        gate = pruner(state_of([0.25] * 4)).gate[1]
        return torch.autograd.grad(gate, pruner.task_attention["0"].logits)[0][1].item()

    assert gradient(1e3) / gradient(2e3) == pytest.approx(2, abs=0.01)


def test_no_gate_and_no_loss_in_evaluation(state_of, taught):
    decision = taught([0.25] * 4).eval()(state_of([0.25] * 4))
    assert decision.gate is None
    assert decision.loss is None


def test_auxiliary_loss_without_a_teacher_is_the_entropy(state_of, taught):
    even = taught([0.25] * 4)(state_of([0.25] * 4)).loss
    assert even.item() == pytest.approx(math.log(4))
    uneven = taught([0.5, 0.25, 0.125, 0.125])(state_of([0.25] * 4)).loss
    assert uneven.item() == pytest.approx(1.75 * math.log(2))


def test_auxiliary_loss_with_a_teacher_is_the_cross_entropy(state_of, taught):
    def loss(target, alive=None) -> float:
        state = state_of([0.25] * 4, alive=alive, target=torch.tensor(target))
        return taught([0.5, 0.25, 0.125, 0.125])(state).loss.item()

    assert loss([1.0, 0, 0, 0]) == pytest.approx(math.log(2))
    assert loss([0.0, 1, 0, 1]) == pytest.approx(2.5 * math.log(2))
    assert loss([0.0, 3, 0, 3]) == pytest.approx(2.5 * math.log(2)), "shares, not sizes"
    assert loss([0.0, 0, 0, 0]) == 0, "a teacher without an opinion"
    # Without its last token the task attention is 4/7, 2/7, 1/7, and what the teacher says of a
    # dropped token does not count.
    assert loss([1.0, 0, 0, 9], alive=[1, 1, 1, 0]) == pytest.approx(math.log(7 / 4))


def test_a_task_attention_that_is_sure_and_wrong_still_learns(state_of, taught):
    """Thirty apart, its share where the teacher points is 1e-13."""
    pruner = taught([0.25] * 4)
    logits = pruner.task_attention["0"].logits
    with torch.no_grad():
        logits.copy_(torch.tensor([30.0, 0, 0, 0]))
    loss = pruner(state_of([0.25] * 4, target=torch.tensor([0.0, 1, 0, 0]))).loss
    assert loss.item() == pytest.approx(30)
    gradient = torch.autograd.grad(loss, logits)[0]
    torch.testing.assert_close(gradient, torch.tensor([1.0, -1, 0, 0]))


def test_a_silent_sequence_leaves_the_mean_to_the_others(state_of, taught):
    pruner = taught([0.5, 0.5, 0.5, 0.5])
    state = state_of([0.5] * 4, target=torch.tensor([1.0, 0, 0, 0]))
    state.layout = layout_of(2, 2)
    assert pruner(state).loss.item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("embeddings", [True, False])
def test_the_task_query_reads_features_of_hidden_states_and_of_embeddings(state_of, embeddings):
    torch.manual_seed(0)
    attend, state = TaskSpecificAttention(8, 4, embeddings), state_of([0.2] * 5)
    state.hidden = 3 * state.hidden + 1
    features = attend.task_specific_weight(F.layer_norm(state.hidden, (8,)))
    if embeddings:
        features = features + attend.feature_layer(state.embeddings)
    expected = F.gelu(features) @ attend.query / 2  # the root of four features
    torch.testing.assert_close(attend(state), expected)
