"""Self-attention over packed tokens, behind one signature.

Two back ends compute the same function: `reference` is written like the textbook, one sequence
after the other; `padded` puts the tokens on a grid and uses torch's fused attention where no
probabilities are asked for. Dropped tokens leave every softmax before it is normalised.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.packing import Packed, unpack

# A dropped key may score far above every live one; capped, its gate's gradient stays of the size of
# theirs. Live keys never reach the cap, so the value is untouched.
_MAX_EXCESS = 5.0

Attention = tuple[Tensor, Tensor | None]


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Packed,
    *,
    gate: Tensor | None = None,
    received: bool = False,
    dropout: float = 0.0,
    backend: str = "padded",
) -> Attention:
    """Scaled dot-product attention of every token to the tokens of its own sequence.

    Args:
        query: [T, H, D], as are key and value.
        key: [T, H, D].
        value: [T, H, D].
        layout: where the sequences begin; its values are not used.
        gate: [T], the weight of each key in the softmax, 0 for a dropped token and 1 for a live
            one; a straight-through gate passes its gradient on to dropped tokens too.
        received: also return how much attention each token receives.
        dropout: probability of dropping an attention weight (training).
        backend: one of `BACKENDS`.

    Returns:
        context [T, H, D] in the dtype of value, and received [T] float32 or None: the attention
        that token j receives, averaged over heads and over the live queries of its sequence.

    Raises:
        ValueError: for an unknown back end.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown attention backend {backend!r}; valid: {', '.join(BACKENDS)}")
    return BACKENDS[backend](query, key, value, layout, gate, received, dropout)


def _weights(query: Tensor, key: Tensor, gate: Tensor) -> Tensor:
    """softmax over keys of q.k / sqrt(D), each key weighted by its gate before normalising.

    Shapes: query, key [..., S, D]; gate broadcasts to [..., S, S]; the result is float32.
    """
    scores = (query @ key.transpose(-1, -2)).float() * query.shape[-1] ** -0.5
    best = scores.detach().masked_fill(gate.detach() == 0, float("-inf")).amax(-1, keepdim=True)
    weights = (scores - best).clamp(max=_MAX_EXCESS).exp() * gate
    return weights / weights.sum(-1, keepdim=True)


def _reference(query, key, value, layout, gate, received, dropout) -> Attention:
    gate = torch.ones_like(query[:, 0, 0], dtype=torch.float32) if gate is None else gate.float()
    contexts, receipts = [], []
    bounds = layout.cu_seqlens.tolist()
    for start, end in zip(bounds, bounds[1:], strict=False):
        q, k, v = (x[start:end].transpose(0, 1) for x in (query, key, value))  # [H, n, D]
        g = gate[start:end]
        weights = _weights(q, k, g)
        live = (g.detach() != 0).float()
        receipts.append(weights.mean(0).mul(live[:, None]).sum(0) / live.sum())
        context = F.dropout(weights, dropout).to(v.dtype) @ v
        contexts.append(context.transpose(0, 1))
    return torch.cat(contexts), torch.cat(receipts) if received else None


def _padded(query, key, value, layout, gate, received, dropout) -> Attention:
    grid, mask = unpack(layout.like(torch.stack([query, key, value], dim=1)))
    q, k, v = grid.permute(2, 0, 3, 1, 4)  # each [B, H, S, D]
    if gate is None and not received:
        full = query.shape[0] == mask.numel()
        bias = None if full else mask[:, None, None, :]
        context = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, dropout_p=dropout)
        return _repack(context, layout), None
    gates = mask.float() if gate is None else unpack(layout.like(gate.float()))[0]
    weights = _weights(q, k, gates[:, None, None, :])
    context = _repack(F.dropout(weights, dropout).to(v.dtype) @ v, layout)
    return context, _received(weights, gates, layout) if received else None


def _received(weights: Tensor, gates: Tensor, layout: Packed) -> Tensor:
    """Mean over heads and live queries of weights [B, H, S, S], back on the packed tokens [T]."""
    live = (gates.detach() != 0).float()
    live = live / live.sum(1, keepdim=True)
    receipts = torch.einsum("bhij,bi->bj", weights, live) / weights.shape[1]
    return receipts.flatten()[layout.grid]


def _repack(context: Tensor, layout: Packed) -> Tensor:
    return context.transpose(1, 2).flatten(0, 1)[layout.grid]  # [B, H, S, D] -> [T, H, D]


BACKENDS: dict[str, Callable[..., Attention]] = {"reference": _reference, "padded": _padded}
