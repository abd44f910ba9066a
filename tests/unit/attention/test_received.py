"""What a token receives: its part of the attention of those that see it."""

from __future__ import annotations

import math

import pytest
import torch
from textbook import GATE, LENGTHS, SIZE, tensors

from tsdtp.attention import attend


@pytest.mark.parametrize("gate", [None, GATE])
def test_received_sums_to_one_over_each_sequence(backend, gate):
    received = attend(*tensors(), gate=gate, received=True, backend=backend)[1]
    assert received is not None
    sums = [part.sum().item() for part in received.split(LENGTHS)]
    assert sums == pytest.approx([1, 1, 1], abs=1e-6)
    if gate is not None:
        assert (received[gate == 0] == 0).all()


@pytest.mark.parametrize("gate", [None, GATE])
def test_even_attention_is_received_evenly_where_keys_are_hidden(backend, gate):
    query, key, value, layout = tensors()
    *_, received = attend(
        *(query * 0, key, value, layout), gate=gate, received=True, causal=True, backend=backend
    )
    alive = torch.ones(9).bool() if gate is None else gate.bool()
    counts = torch.stack([part.sum() for part in alive.split(LENGTHS)])
    torch.testing.assert_close(received, alive / counts[layout.segments])


def test_the_last_token_of_a_causal_model_is_judged_by_the_one_query_that_sees_it(backend):
    query, key, value, layout = tensors()
    *_, received = attend(query, key, value, layout, received=True, causal=True, backend=backend)
    weights = (torch.einsum("hd,nhd->hn", query[4], key[:5]) / math.sqrt(SIZE)).softmax(-1)
    torch.testing.assert_close(received[4], weights[:, 4].mean())


def test_dropout_leaves_received_alone(backend):
    *qkv, layout = tensors()
    _, plain = attend(*qkv, layout, received=True, backend=backend)
    _, dropped = attend(*qkv, layout, received=True, dropout=0.5, backend=backend)
    assert torch.equal(plain, dropped)
