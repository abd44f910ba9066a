"""Attention one sequence after the other, fused where no probabilities are asked for.

On a CPU this is the fastest where nothing learns, and in float32 to learn from all but short texts:
no time or memory goes to a mask, to padding, or to copies from and to a grid.
"""

from __future__ import annotations

from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.attention.fused import fused
from tsdtp.attention.softmax import (
    Attention,
    gated_softmax,
    is_causal_only,
    needs_weights,
    received_parts,
    score_bias,
)

_QUERIES = 512  # whose weights are held at a time


def attend(query, key, value, layout, gate, received, dropout, bias, causal) -> Attention:
    """See `tsdtp.attention.attend`."""
    sizes = [end - start for start, end in layout.bounds]
    # Of a slice the gradient would be as large as the whole, each time; of a split it is one.
    parts = [x[: layout.size].split(sizes) for x in (query, key, value)]
    gates = [None] * len(sizes) if gate is None else gate.float().split(sizes)
    places = layout.positions.split(sizes)
    ordered = is_causal_only(gate, received, bias, causal)
    whole, learning, receipts = torch.zeros_like(value), [], []
    for i, (start, end) in enumerate(layout.bounds):
        q, k, v = (x[i].transpose(0, 1) for x in parts)
        added = None if ordered else score_bias(bias, causal, places[i])
        if needs_weights(gate, received):
            context, receipt = _weighed(q, k, v, gates[i], added, dropout, received)
            receipts += [] if receipt is None else [receipt]
        else:
            context = _fused(q, k, v, gates[i], added, dropout, ordered)
        if context.requires_grad:
            learning.append(context.transpose(0, 1))
        else:  # a list of them, to be joined, would hold all of them twice
            whole[start:end] = context.transpose(0, 1)
    if learning:
        whole = F.pad(torch.cat(learning), (0, 0, 0, 0, 0, len(value) - layout.size))
    return whole, torch.cat(receipts) if received else None


def _fused(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    gate: Tensor | None,
    bias: Tensor | None,
    dropout: float,
    ordered: bool,
) -> Tensor:
    """Context [H, n, D] of query, key, value [H, n, D], gate [n] and bias [H or 1, n, n]."""
    q, k, v = query[None], key[None], value[None]
    row = None if gate is None else gate.expand(gate.shape[0], -1)
    return fused(q, k, v, row, None if bias is None else bias[None], dropout, ordered)[0]


def _weighed(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    gate: Tensor | None,
    bias: Tensor | None,
    dropout: float,
    received: bool,
) -> Attention:
    """The same, and received [n]; of a long text the weights of some queries after the others."""
    alive = None if gate is None else gate.detach() != 0
    contexts, parts = [], []
    for rows in _rows(query.shape[1]):
        added = None if bias is None else bias[:, rows]
        weights = gated_softmax(query[:, rows], key, gate, added)
        contexts.append(F.dropout(weights, dropout).to(value.dtype) @ value)
        if received:
            asking = None if alive is None else alive[rows]
            parts.append(received_parts(weights, alive, added, asking))
    context = contexts[0] if len(contexts) == 1 else torch.cat(contexts, 1)
    if not received:
        return context, None
    given, seen = (reduce(torch.add, each) for each in zip(*parts, strict=True))
    return context, given / seen.clamp(min=1)


def _rows(n: int) -> list[slice]:
    """All n queries in parts; an exported program, which can not ask for n, has one."""
    if torch.compiler.is_exporting():
        return [slice(None)]
    return [slice(start, start + _QUERIES) for start in range(0, n, _QUERIES)]
