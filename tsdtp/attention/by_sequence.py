"""Attention one sequence after the other, fused where no probabilities are asked for.

On a CPU this is the fastest: short sequences leave no room for parallelism over a batch, and no
time or memory goes to a mask, to padding, or to copies from and to a grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.attention.softmax import (
    Attention,
    added_to_scores,
    by_place,
    needs_weights,
    sequence_attention,
    triangle_alone,
)


def attend(query, key, value, layout, gate, received, dropout, bias, causal) -> Attention:
    """See `tsdtp.attention.attend`."""
    contexts = torch.zeros_like(value)
    receipts: list[Tensor] = []
    ordered = triangle_alone(gate, received, bias, causal)
    for start, end in layout.bounds:
        one = [x[start:end].transpose(0, 1)[None] for x in (query, key, value)]
        gates = None if gate is None else gate[start:end].float()
        added = None if ordered else by_place(bias, causal, layout.positions[start:end])
        context, receipt = _one(one[0], one[1], one[2], gates, received, dropout, added, ordered)
        contexts[start:end] = context  # a list of them, to be joined, would hold all of them twice
        if receipt is not None:
            receipts.append(receipt)
    return contexts, torch.cat(receipts) if received else None


def _one(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    gate: Tensor | None,
    received: bool,
    dropout: float,
    bias: Tensor | None,
    ordered: bool,
) -> Attention:
    """Context [n, H, D] and received [n] of query, key, value [1, H, n, D]; bias [H or 1, n, n]."""
    if not needs_weights(gate, received):
        row = None if gate is None else gate.expand(gate.shape[0], -1)
        added = added_to_scores(row, None if bias is None else bias[None], query.dtype)
        context = F.scaled_dot_product_attention(query, key, value, added, dropout, ordered)
        return context[0].transpose(0, 1), None
    weights, receipt = sequence_attention(query[0], key[0], gate, bias)
    context = F.dropout(weights, dropout).to(value.dtype) @ value[0]
    return context.transpose(0, 1), receipt
