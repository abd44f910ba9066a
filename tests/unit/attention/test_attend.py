"""Every back end computes the textbook's softmax, and its gradients."""

from __future__ import annotations

import math

import pytest
import torch
from textbook import GATE, HEADS, SIZE, tensors, textbook
from tiny import layout_of

from tsdtp.attention import attend, by_sequence, fastest
from tsdtp.packing import Layout, pack


@pytest.mark.parametrize("gate", [None, GATE])
def test_it_is_the_textbook_softmax(backend, gate):
    *qkv, layout = tensors()
    expected, receipts = textbook(*qkv, layout, gate)
    context, received = attend(*qkv, layout, gate=gate, received=True, backend=backend)
    torch.testing.assert_close(context, expected)
    torch.testing.assert_close(received, receipts)
    context, nothing = attend(*qkv, layout, gate=gate, backend=backend)
    torch.testing.assert_close(context, expected)
    assert nothing is None


@pytest.mark.parametrize("gate", [None, GATE])
@pytest.mark.parametrize("received", [True, False])
def test_a_bias_goes_by_original_positions(backend, gate, received):
    """Two of the first sequence's tokens have gone: the distances stay what they were."""
    torch.manual_seed(1)
    query, key, value = torch.randn(3, 7, HEADS, SIZE)
    positions = torch.tensor([0, 3, 4, 0, 0, 1, 2])
    layout = Layout(torch.tensor([0, 3, 4, 7]), 3, positions)
    gate = None if gate is None else gate[:7]
    bias = torch.randn(9, HEADS)
    expected, receipts = textbook(query, key, value, layout, gate, bias)
    context, received = attend(
        *(query, key, value, layout), gate=gate, received=received, bias=bias, backend=backend
    )
    torch.testing.assert_close(context, expected)
    if received is not None:
        torch.testing.assert_close(received, receipts)


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("received", [False, True])
def test_a_token_of_a_causal_model_sees_none_after_it(backend, learns, biased, received):
    *qkv, layout = tensors()
    bias = torch.randn(9, HEADS) if biased else None
    expected, _ = textbook(*qkv, layout, bias=bias, causal=True)
    qkv = [x.requires_grad_(learns) for x in qkv]
    settings = {"bias": bias, "causal": True, "received": received}
    context, _ = attend(*qkv, layout, **settings, backend=backend)
    torch.testing.assert_close(context, expected)
    if learns:
        theirs, _ = attend(*qkv, layout, **settings, backend="reference")
        gradients = (torch.autograd.grad(x.square().sum(), qkv) for x in (context, theirs))
        torch.testing.assert_close(*gradients)


def test_the_first_of_a_causal_model_may_have_no_live_key(backend):
    """Nobody reads what they get, but numbers they are; the live ones see the live before them."""
    *qkv, layout = tensors()
    gate = torch.tensor([0.0, 0, 1, 0, 1, 1, 0, 1, 1])
    live = gate.bool()
    context, _ = attend(*qkv, layout, gate=gate, causal=True, backend=backend)
    rest = Layout(torch.tensor([0, 2, 3, 5]), 2, layout.positions[live])
    alone, _ = attend(*(x[live] for x in qkv), rest, causal=True, backend=backend)
    torch.testing.assert_close(context[live], alone)
    assert context.isfinite().all()


@pytest.mark.parametrize("backend", ["padded", "by_sequence"])
def test_padding_and_dropped_keys_stay_out_whatever_the_scores_are(backend):
    """Live ones far below what a logarithm of nothing might be taken for."""
    query, key, value, layout = tensors()
    query, key = query.abs() * -1e3, key.abs() * 1e3
    for gate in (None, GATE):
        expected, _ = attend(query, key, value, layout, gate=gate, backend="reference")
        context, _ = attend(query, key, value, layout, gate=gate, backend=backend)
        torch.testing.assert_close(context, expected)


def test_a_dropped_key_leaves_before_normalisation(backend):
    """As if its row were not there: the other weights grow to sum to 1."""
    query, key, value, layout = tensors()
    gated, _ = attend(query, key, value, layout, gate=GATE, backend=backend)
    live = GATE.bool()
    cu_seqlens = torch.tensor([0, 3, 4, 5 + 1])
    rest = Layout(cu_seqlens, 3, layout.positions[live])
    shorter, _ = attend(query[live], key[live], value[live], rest, backend=backend)
    torch.testing.assert_close(gated[live], shorter)


def test_a_key_of_next_to_no_gate_weighs_what_it_is(backend):
    """However well it matches: the weights of a query sum to 1."""
    layout = layout_of(3)
    query, key = torch.ones(3, 1, 1), torch.tensor([0.0, 18.0, 0.0]).view(3, 1, 1)
    gate = torch.tensor([1, 1e-10, 1], requires_grad=True)
    context, _ = attend(query, key, torch.ones(3, 1, 1), layout, gate=gate, backend=backend)
    torch.testing.assert_close(context, torch.ones(3, 1, 1))


def test_the_gradient_of_a_dropped_key_is_bounded_however_well_it_matches(backend):
    """As of one whose score lies 5 above the best live one: exp(5) over the two that are there."""
    layout = layout_of(3)
    query, key = torch.ones(3, 1, 1), torch.tensor([0.0, 18.0, 0.0]).view(3, 1, 1)
    gate = torch.tensor([1.0, 0, 1], requires_grad=True)
    value = torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1)
    context, _ = attend(query, key, value, layout, gate=gate, backend=backend)
    (gradient,) = torch.autograd.grad(context[0].sum(), gate)
    assert gradient[1].item() == pytest.approx(math.exp(5) / 2)


def test_a_straight_through_gate_reaches_dropped_keys(backend):
    query, key, value, layout = tensors()
    gate = GATE.clone().requires_grad_()
    attend(query, key, value, layout, gate=gate, backend=backend)[0].square().sum().backward()
    assert gate.grad is not None
    dropped = gate.grad[GATE == 0]
    assert torch.isfinite(gate.grad).all()
    assert (dropped.abs() > 1e-6).all()


def test_the_gate_gradient_is_what_a_small_step_gives():
    """The reference is differentiable in the gate itself, at 0 too."""
    query, key, value, layout = (t.double() if torch.is_tensor(t) else t for t in tensors())
    gate, step = GATE.clone().requires_grad_(), 1e-2
    loss = attend(query, key, value, layout, gate=gate, backend="reference")[0].sum()
    (gradient,) = torch.autograd.grad(loss, gate)
    nudged = GATE.clone()
    nudged[1] = step
    moved = attend(query, key, value, layout, gate=nudged, backend="reference")[0].sum()
    assert ((moved - loss) / step).item() == pytest.approx(gradient[1].item(), rel=0.05)


def test_a_dropped_key_with_a_huge_score_does_no_harm(backend):
    query, key, value, layout = tensors()
    expected, _ = attend(query, key, value, layout, gate=GATE, backend=backend)
    key[GATE == 0] *= 1e4
    gate = GATE.clone().requires_grad_()
    context, _ = attend(query, key, value, layout, gate=gate, backend=backend)
    torch.testing.assert_close(context, expected)
    context.sum().backward()
    assert gate.grad is not None
    assert torch.isfinite(gate.grad).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("longest", [9, 40, 300])
def test_a_gradient_changes_no_answer_whatever_the_length(backend, dtype, longest):
    lengths = torch.tensor([longest, 3, longest // 2])
    layout = pack(torch.zeros(3, longest), torch.arange(longest) < lengths[:, None]).layout
    torch.manual_seed(0)
    qkv = [torch.randn(layout.size, HEADS, SIZE, dtype=dtype) for _ in range(3)]

    def learnt(backend: str, dtype: torch.dtype) -> list:
        """The context, and what is learnt by it."""
        learning = [x.clone().to(dtype).requires_grad_() for x in qkv]
        context, _ = attend(*learning, layout, backend=backend)
        return [context.detach(), *torch.autograd.grad(context.square().sum(), learning)]

    exact = [x.to(dtype) for x in learnt("reference", torch.float64)]
    torch.testing.assert_close(learnt(backend, dtype), exact, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_dropout_doubles_the_half_that_it_leaves(backend, learns, gated):
    """A text of one token has one weight, and its value is 1: what is left of it is 0 or 2."""
    torch.manual_seed(0)
    texts = 40
    layout = pack(torch.zeros(texts, 1), torch.ones(texts, 1)).layout
    qkv = (torch.ones(texts, HEADS, SIZE, requires_grad=learns) for _ in range(3))
    gate = torch.ones(texts, requires_grad=learns) if gated else None
    context, _ = attend(*qkv, layout, gate=gate, dropout=0.5, backend=backend)
    assert context.unique().tolist() == [0, 2]


def test_an_unknown_back_end_names_the_valid_ones():
    with pytest.raises(
        ValueError, match="attention backend 'flash'; valid: auto, reference, padded, by_seq"
    ):
        attend(*tensors(), backend="flash")


@pytest.mark.parametrize("gate", [None, GATE])
@pytest.mark.parametrize("asked", [False, True])
def test_dead_rows_change_nothing_and_stay_zero(backend, gate, asked):
    *qkv, layout = tensors()
    context, received = attend(*qkv, layout, gate=gate, received=asked, backend=backend)
    more = [torch.cat([x, torch.full_like(x[:7], 1e4)]) for x in qkv]
    again, same = attend(*more, layout, gate=gate, received=asked, backend=backend)
    assert torch.equal(again[:9], context)
    assert (again[9:] == 0).all()
    assert (received is None and same is None) or torch.equal(received, same)


@pytest.mark.parametrize("gate", [None, GATE])
@pytest.mark.parametrize("asked", [False, True])
def test_gradients_are_those_of_the_reference(backend, gate, asked):
    def gradients(name):
        *qkv, layout = tensors()
        leaves = [x.requires_grad_() for x in qkv]
        if gate is not None:
            leaves.append(gate.clone().requires_grad_())
        given = None if gate is None else leaves[3]
        context, received = attend(*qkv, layout, gate=given, received=asked, backend=name)
        loss = context.square().sum() + (0 if received is None else received.square().sum())
        return torch.autograd.grad(loss, leaves)

    for mine, theirs in zip(gradients(backend), gradients("reference"), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("gate", [None, GATE])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("biased", [False, True])
def test_weights_of_a_part_of_the_queries_after_the_other(monkeypatch, gate, causal, biased):
    monkeypatch.setattr(by_sequence, "_QUERIES", 2)
    *qkv, layout = tensors()
    bias = torch.randn(9, HEADS) if biased else None
    if biased:
        bias[[1, 6]] = float("-inf")  # keys at a distance, so that not all see equally many
    settings = {"gate": gate, "received": True, "bias": bias, "causal": causal}
    expected, receipts = attend(*qkv, layout, **settings, backend="reference")
    context, received = attend(*qkv, layout, **settings, backend="by_sequence")
    torch.testing.assert_close(context, expected)
    torch.testing.assert_close(received, receipts)


def test_auto_takes_one_sequence_after_the_other_on_a_cpu_and_the_grid_to_learn_from_short_texts():
    query, _, _, layout = tensors()
    assert fastest(query, layout, None, False, 0.0) == "by_sequence"
    assert fastest(query, layout, GATE, True, 0.0) == "by_sequence"
    query.requires_grad_()
    assert fastest(query, layout, None, False, 0.0) == "padded"
    assert fastest(query, layout, GATE, False, 0.0) == "padded"
    long = torch.zeros(100, 12, 32, requires_grad=True)
    assert fastest(long, layout_of(100), None, False, 0.0) == "by_sequence"
    assert fastest(long.bfloat16(), layout_of(100), None, False, 0.0) == "padded"
    with torch.autocast("cpu", torch.bfloat16):
        assert fastest(long, layout_of(100), None, False, 0.0) == "padded"
