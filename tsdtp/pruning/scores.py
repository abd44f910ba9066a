"""How much a token matters: pure functions over the tokens of several sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from tsdtp.pruning.rules import segment_sum

_FLOOR = 1e-9  # keeps the logarithm of a vanishing share finite


def segment_softmax(logits: Tensor, alive: Tensor, segments: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Softmax over the live tokens of each sequence; dropped tokens get 0.

    Args:
        logits: [T].
        alive: [T] bool; every sequence needs one live token.
        segments: [T].
        cu_seqlens: [B + 1].

    Returns:
        [T] float32, summing to 1 over each sequence.
    """
    logits = logits.float().masked_fill(~alive, float("-inf"))
    best = torch.segment_reduce(logits.detach(), "max", offsets=cu_seqlens, axis=0)
    weights = (logits - best[segments]).exp()
    return weights / segment_sum(weights, cu_seqlens)[segments]


def log_share(importance: Tensor, alive: Tensor, segments: Tensor, cu_seqlens: Tensor) -> Tensor:
    """Logarithm of each live token's share of its sequence's importance, times the live count.

    Attention received is right-skewed ([CLS] and [SEP] are sinks), so that mean - k * std of it
    prunes next to nothing; its logarithm is close to symmetric. A token of average importance
    scores 0, whatever the length.

    Args:
        importance: [T], not negative.
        alive: [T] bool.
        segments: [T].
        cu_seqlens: [B + 1].

    Returns:
        [T] float32; what dropped tokens hold has no meaning.
    """
    importance = importance.masked_fill(~alive, 0)
    total = segment_sum(importance, cu_seqlens)
    count = segment_sum(alive.to(importance.dtype), cu_seqlens)
    return (importance * (count / total)[segments]).clamp(min=_FLOOR).log()


def hashed_uniform(input_ids: Tensor, positions: Tensor, segments: Tensor, seed: int) -> Tensor:
    """Uniform numbers in [0, 1) that depend on a sequence's tokens and the seed, and nothing else.

    So random pruning is reproducible and the same for a sequence in any batch.

    Args:
        input_ids: [T] int64, as are positions and segments; no token may be missing yet.
        positions: [T].
        segments: [T].
        seed: another seed, another draw.

    Returns:
        [T] float64.
    """
    tokens = _mix(_mix(input_ids + seed * 1_000_003) + positions)
    sequences = torch.zeros_like(tokens).index_add(0, segments, tokens)  # exact, in any order
    return (_mix(tokens ^ _mix(sequences)[segments]) & (2**53 - 1)).double() / 2**53


def _mix(x: Tensor) -> Tensor:
    """A 64-bit finaliser with splitmix64's constants, as signed integers; overflow wraps."""
    x = (x ^ (x >> 30)) * -0x40A7B892E31B1A47
    x = (x ^ (x >> 27)) * -0x6B2FB644ECCEEE15
    return x ^ (x >> 31)
