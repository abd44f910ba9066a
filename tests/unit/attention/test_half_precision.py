"""In half precision every back end stays near the textbook, and learns."""

from __future__ import annotations

import pytest
import torch
from textbook import GATE, HEADS, LENGTHS, SIZE, tensors, textbook

from tsdtp.attention import attend
from tsdtp.packing import pack


@pytest.mark.parametrize("gate", [None, GATE])
def test_bfloat16(backend, gate):
    *qkv, layout = tensors(dtype=torch.bfloat16)
    context, received = attend(*qkv, layout, gate=gate, received=True, backend=backend)
    exact, receipts = textbook(*(x.float() for x in qkv), layout, gate)
    assert received is not None
    assert (context.dtype, received.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(context.float(), exact, atol=0.03, rtol=0.03)
    torch.testing.assert_close(received, receipts, atol=0.01, rtol=0.02)


@pytest.mark.parametrize("gate", [None, GATE])
@pytest.mark.parametrize(("dtype", "offset"), [(torch.bfloat16, 30.0), (torch.float16, 200.0)])
def test_scores_that_are_large_and_alike_are_told_apart_in_half_precision(
    backend, gate, dtype, offset
):
    query, key, value, layout = tensors(dtype=dtype)
    qkv = (query + offset, key + offset, value)
    context, received = attend(*qkv, layout, gate=gate, received=True, backend=backend)
    exact, receipts = textbook(*(x.float() for x in qkv), layout, gate)
    torch.testing.assert_close(context.float(), exact, atol=0.03, rtol=0.03)
    torch.testing.assert_close(received, receipts, atol=0.01, rtol=0.02)


@pytest.mark.parametrize("gate", [None, GATE])
def test_received_stays_exact_under_autocast(backend, gate):
    *qkv, layout = tensors()
    _, receipts = textbook(*(x.bfloat16().float() for x in qkv), layout, gate)
    with torch.autocast("cpu", torch.bfloat16):
        half = [x.bfloat16() for x in qkv]
        _, received = attend(*half, layout, gate=gate, received=True, backend=backend)
    assert received is not None and received.dtype == torch.float32
    sums = [part.sum().item() for part in received.split(LENGTHS)]
    assert sums == pytest.approx([1, 1, 1], abs=1e-5)
    torch.testing.assert_close(received, receipts, atol=0.01, rtol=0.02)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("tokens", [6, 300])
def test_half_precision_learns_on_a_grid(tokens, autocast):
    """Short sequences as in single precision, but for the rounding of what goes in and out."""
    torch.manual_seed(0)
    mask = torch.arange(tokens) < torch.tensor([[tokens], [tokens // 2]])
    layout = pack(torch.zeros(mask.shape), mask).layout
    exact = [torch.randn(layout.size, HEADS, SIZE).bfloat16().float() for _ in range(3)]
    half = [x.bfloat16().requires_grad_() for x in exact]
    exact = [x.requires_grad_() for x in exact]
    expected, _ = attend(*exact, layout, backend="padded")
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        context, _ = attend(*half, layout, backend="padded")
    assert context.dtype == torch.bfloat16
    torch.testing.assert_close(context.float(), expected, atol=0.02, rtol=0.02)
    if tokens == 6:
        assert torch.equal(context, expected.bfloat16())
    weights = torch.randn_like(expected).bfloat16()
    mine = torch.autograd.grad(context, half, weights)
    theirs = torch.autograd.grad(expected, exact, weights.float())
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.float(), other, atol=0.03, rtol=0.03)
