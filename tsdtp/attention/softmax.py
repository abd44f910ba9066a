"""What the back ends share: the gated softmax and the attention that tokens receive."""

from __future__ import annotations

import torch
from torch import Tensor

# A dropped key may score far above every live one; capped, its gate's gradient stays of the size of
# theirs. Live keys never reach the cap, so the value is untouched.
_MAX_EXCESS = 5.0
_TINY = 1e-30  # below every sum with a live key: its best one adds its gate

Attention = tuple[Tensor, Tensor | None]


def score_bias(bias: Tensor | None, causal: bool, positions: Tensor) -> Tensor | None:
    """Additive bias of the scores: by relative position, and the causal mask; None for neither.

    Shapes: bias [2P - 1, H or 1], row P - 1 + d for a key d positions after its query; positions
    [..., n], ascending; the result is [..., H or 1, n, n].
    """
    added = None
    if bias is not None:
        distance = positions[..., None, :] - positions[..., :, None]
        added = bias[distance + bias.shape[0] // 2].movedim(-1, -3)
    if causal:
        n = positions.shape[-1]
        ahead = torch.full((1, n, n), float("-inf"), device=positions.device).triu(1)
        added = ahead if added is None else added + ahead
    return added


def is_causal_only(gate: Tensor | None, received: bool, bias: Tensor | None, causal: bool) -> bool:
    """Whether the causal mask is the only one, which fused kernels apply without a tensor.

    No live query sees the padding at the end of its sequence then, either.
    """
    return causal and gate is None and bias is None and not received


def gated_softmax(
    query: Tensor, key: Tensor, gate: Tensor | None, bias: Tensor | None = None
) -> Tensor:
    """softmax over keys of q.k / sqrt(D) + bias, each key weighted by its gate before normalising.

    Shapes: query, key [..., S, D]; gate and bias broadcast to [..., S, S]; the result is float32.
    """
    scores = _products(query, key) * query.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias
    if gate is None:
        return scores.softmax(-1)
    best = scores.detach().masked_fill(gate.detach() == 0, float("-inf")).amax(-1, keepdim=True)
    # A dropped query with local attention may see no live key at all; no one reads what it gets.
    best = best.masked_fill(best.isinf(), 0)
    weights = (scores - best).clamp(max=_MAX_EXCESS).exp() * gate
    return weights / weights.sum(-1, keepdim=True).clamp(min=_TINY)


def _products(query: Tensor, key: Tensor) -> Tensor:
    """Float32. Rounded to half precision, large products that differ by little would be alike.

    (Or overflow: Qwen2 adds to its queries and keys numbers beyond 100. Autocast has its way.)
    """
    if query.dtype.itemsize == 2 and not torch.is_autocast_enabled(query.device.type):
        query, key = query.float(), key.float()
    return (query @ key.transpose(-1, -2)).float()


def needs_weights(gate: Tensor | None, received: bool) -> bool:
    """Whether weights have to be there as such; a fused kernel serves gates without a gradient."""
    return received or (gate is not None and gate.requires_grad)


def additive_mask(gate: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A gate without a gradient and a bias as one addend before a plain softmax; None for neither.

    A dropped key gets less than any score, but no -inf: rows without a live key stay numbers.
    Shapes broadcast to the scores'.
    """
    if gate is None:
        return None if bias is None else bias.to(dtype)
    logs = gate.log().to(dtype).clamp(min=torch.finfo(dtype).min / 4)
    return (logs if bias is None else bias + logs).to(dtype)


def received_by(weights: Tensor, alive: Tensor, bias: Tensor | None = None) -> Tensor:
    """Attention received by each key, [..., n] float32; arguments as `received_parts`."""
    given, seen = received_parts(weights, alive, bias, alive)
    return given / seen.clamp(min=1)


def received_parts(
    weights: Tensor, alive: Tensor | None, bias: Tensor | None, asking: Tensor | None
) -> tuple[Tensor, Tensor]:
    """What some queries give to each key, and how many of them see it: received is the quotient.

    The mean over heads and over the live queries that see a key. In a causal model the first tokens
    are seen by all, and the first queries have few keys to share between. So where a bias hides
    keys, each query's weights are first multiplied by the number of keys it sees, over that of all,
    so that even attention gives every token 1/n there as well.

    Both may be summed over parts of the queries.

    Args:
        weights: [..., H, q, n].
        alive: [..., n] bool, live keys; None: all.
        bias: [..., H or 1, q, n] or None.
        asking: [..., q] bool, live queries; None: all.

    Returns:
        [..., n] float32 and [..., n] or [..., 1].
    """
    weights = weights.mean(-3)
    queries, keys = weights.shape[-2:]
    if bias is None and asking is None:
        return weights.sum(-2), weights.new_full((1,), queries)
    alive = weights.new_ones(keys).bool() if alive is None else alive
    asking = weights.new_ones(queries).bool() if asking is None else asking
    rows = asking[..., :, None]
    if bias is None:  # a product of matrices would be rounded by autocast
        return (weights * rows).sum(-2), asking.sum(-1, keepdim=True)
    seen = rows & alive[..., None, :] & (bias > float("-inf")).any(-3)
    part = seen.sum(-1, keepdim=True) / alive.sum(-1)[..., None, None]
    return (weights * seen * part).sum(-2), seen.sum(-2)
