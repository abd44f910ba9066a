"""Attention on a padded grid: few, large operators, gates and received attention included."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.attention.fused import fused
from tsdtp.attention.softmax import (
    Attention,
    gated_softmax,
    is_causal_only,
    needs_weights,
    received_by,
    score_bias,
)
from tsdtp.packing import Layout, Packed, unpack


def attend(query, key, value, layout, gate, received, dropout, bias, causal) -> Attention:
    """See `tsdtp.attention.attend`."""
    grid, mask = unpack(Packed(torch.stack([query, key, value], dim=1), layout))
    q, k, v = grid.permute(2, 0, 3, 1, 4)  # each [B, H, S, D]
    ordered = is_causal_only(gate, received, bias, causal)
    if bias is not None or (causal and not ordered):
        bias = score_bias(bias, causal, unpack(Packed(layout.positions, layout))[0])
    gates = mask.float() if gate is None else unpack(Packed(gate.float(), layout))[0]
    if not needs_weights(gate, received):
        full = ordered or (gate is None and layout.size == mask.numel())
        seen = None if full else gates[:, None, None, :]
        return _repack(fused(q, k, v, seen, bias, dropout, ordered), layout, len(query)), None
    weights = gated_softmax(q, k, gates[:, None, None, :], bias)
    context = F.dropout(weights, dropout).to(v.dtype) @ v
    context = _repack(context, layout, len(query))
    if not received:
        return context, None
    receipts = received_by(weights, gates.detach() != 0, bias)
    return context, receipts.flatten().index_select(0, layout.grid)


def _repack(context: Tensor, layout: Layout, rows: int) -> Tensor:
    """[B, H, S, D] -> [rows, H, D]."""
    # The gradient of indexing by brackets sorts the indices first.
    packed = context.transpose(1, 2).flatten(0, 1).index_select(0, layout.grid)
    return F.pad(packed, (0, 0, 0, 0, 0, rows - len(packed))) if rows > len(packed) else packed
