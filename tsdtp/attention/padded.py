"""Attention on a padded grid: few, large operators, gates and received attention included."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.attention.softmax import (
    Attention,
    added_to_scores,
    by_place,
    gated_softmax,
    needs_weights,
    received_by,
    triangle_alone,
)
from tsdtp.packing import Layout, Packed, unpack

_SHORT = 256  # tokens


def attend(query, key, value, layout, gate, received, dropout, bias, causal) -> Attention:
    """See `tsdtp.attention.attend`."""
    grid, mask = unpack(Packed(torch.stack([query, key, value], dim=1), layout))
    q, k, v = grid.permute(2, 0, 3, 1, 4)  # each [B, H, S, D]
    ordered = triangle_alone(gate, received, bias, causal)
    if bias is not None or (causal and not ordered):
        bias = by_place(bias, causal, unpack(Packed(layout.positions, layout))[0])
    gates = mask.float() if gate is None else unpack(Packed(gate.float(), layout))[0]
    if not needs_weights(gate, received):
        full = ordered or (gate is None and layout.size == mask.numel())
        seen = None if full else gates[:, None, None, :]
        return _repack(_fused(q, k, v, seen, bias, dropout, ordered), layout, len(query)), None
    weights = gated_softmax(q, k, gates[:, None, None, :], bias)
    context = F.dropout(weights, dropout).to(v.dtype) @ v
    context = _repack(context, layout, len(query))
    if not received:
        return context, None
    receipts = received_by(weights, gates.detach() != 0, bias)
    return context, receipts.flatten().index_select(0, layout.grid)


def _fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor | None,
    bias: Tensor | None,
    dropout: float,
    causal: bool,
) -> Tensor:
    """Attention by torch's kernel; short sequences learn in single precision on a CPU.

    Its gradient in half precision takes three to eight times as long there with up to 64 tokens,
    about as long with 256, and less with more; with dropout another kernel is taken anyway.
    """
    if q.device.type != "cpu" or not q.requires_grad or q.shape[-2] > _SHORT or dropout:
        added = added_to_scores(gate, bias, q.dtype)
        return F.scaled_dot_product_attention(q, k, v, added, dropout, causal)
    single, given = torch.promote_types(q.dtype, torch.float32), v.dtype
    q, k, v = (x.to(single) for x in (q, k, v))
    with torch.autocast("cpu", enabled=False):
        # An addend of another type would be misread in float64.
        added = added_to_scores(gate, bias, single)
        return F.scaled_dot_product_attention(q, k, v, added, is_causal=causal).to(given)


def _repack(context: Tensor, layout: Layout, rows: int) -> Tensor:
    """[B, H, S, D] -> [rows, H, D]."""
    # The gradient of indexing by brackets sorts the indices first.
    packed = context.transpose(1, 2).flatten(0, 1).index_select(0, layout.grid)
    return F.pad(packed, (0, 0, 0, 0, 0, rows - len(packed))) if rows > len(packed) else packed
