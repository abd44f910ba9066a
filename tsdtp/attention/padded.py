"""Attention on a padded grid: few, large operators, gates and received attention included."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.attention.softmax import (
    Attention,
    added_to_scores,
    gated_softmax,
    needs_weights,
    relative_bias,
)
from tsdtp.packing import Layout, Packed, unpack

_SHORT = 256  # tokens


def attend(query, key, value, layout, gate, received, dropout, bias) -> Attention:
    """See `tsdtp.attention.attend`."""
    grid, mask = unpack(Packed(torch.stack([query, key, value], dim=1), layout))
    q, k, v = grid.permute(2, 0, 3, 1, 4)  # each [B, H, S, D]
    if bias is not None:
        bias = relative_bias(bias, unpack(Packed(layout.positions, layout))[0])
    gates = mask.float() if gate is None else unpack(Packed(gate.float(), layout))[0]
    if not needs_weights(gate, received):
        full = gate is None and layout.size == mask.numel()
        allowed = added_to_scores(None if full else gates[:, None, None, :], bias, torch.float32)
        context = _fused(q, k, v, allowed, dropout)
        return _repack(context, layout, len(query)), None
    weights = gated_softmax(q, k, gates[:, None, None, :], bias)
    context = F.dropout(weights, dropout).to(v.dtype) @ v
    receipts = _received(weights, gates, layout) if received else None
    return _repack(context, layout, len(query)), receipts


def _fused(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, dropout: float) -> Tensor:
    """Attention by torch's kernel; short sequences learn in single precision on a CPU.

    Its gradient in half precision takes three to eight times as long there with up to 64 tokens,
    about as long with 256, and less with more; with dropout another kernel is taken anyway.
    """
    if q.device.type != "cpu" or not q.requires_grad or q.shape[-2] > _SHORT or dropout:
        mask = None if allowed is None else allowed.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, mask, dropout)
    single, given = torch.promote_types(q.dtype, torch.float32), v.dtype
    q, k, v = (x.to(single) for x in (q, k, v))
    with torch.autocast("cpu", enabled=False):
        mask = None if allowed is None else allowed.to(single)  # or torch misreads it in float64
        return F.scaled_dot_product_attention(q, k, v, mask).to(given)


def _received(weights: Tensor, gates: Tensor, layout: Layout) -> Tensor:
    """Mean over heads and live queries of weights [B, H, S, S], back on the packed tokens [T]."""
    live = (gates.detach() != 0).float()
    live = live / live.sum(1, keepdim=True)
    receipts = (weights.mean(1) * live[:, :, None]).sum(1)  # a product would be rounded by autocast
    return receipts.flatten().index_select(0, layout.grid)


def _repack(context: Tensor, layout: Layout, rows: int) -> Tensor:
    """[B, H, S, D] -> [rows, H, D]."""
    # The gradient of indexing by brackets sorts the indices first.
    packed = context.transpose(1, 2).flatten(0, 1).index_select(0, layout.grid)
    return F.pad(packed, (0, 0, 0, 0, 0, rows - len(packed))) if rows > len(packed) else packed
