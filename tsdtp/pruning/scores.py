"""How much a token matters: pure functions over the tokens of several sequences."""

from __future__ import annotations

import torch
from torch import Tensor

from tsdtp.packing import Layout, unpack
from tsdtp.pruning.rules import compact, segment_max, segment_sum

_FLOOR = 1e-9  # keeps the logarithm of a vanishing share finite


def segment_softmax(logits: Tensor, alive: Tensor, layout: Layout) -> Tensor:
    """Softmax over the live tokens of each sequence; dropped tokens get 0.

    Args:
        logits: [T] or [T, H].
        alive: [T] bool; every sequence needs one live token.
        layout: of the T tokens.

    Returns:
        [T] or [T, H] float32, summing to 1 over each sequence.
    """
    live = alive.view(-1, *[1] * (logits.ndim - 1))
    logits = torch.where(live, logits.float(), float("-inf"))
    best = segment_max(logits.detach(), layout)
    weights = (logits - best[layout.segments]).exp()
    return weights / segment_sum(weights, layout)[layout.segments]


def attention_from_first(query: Tensor, key: Tensor, alive: Tensor, layout: Layout) -> Tensor:
    """What the first token attends to, [CLS], averaged over heads, by query and key alone.

    A bias of the model (causal, local, relative) is left out. One query a sequence, so the cost is
    linear in the tokens.

    Args:
        query: [T, H, D]; the first token of every sequence has to be there.
        key: [T, H, D].
        alive: [T] bool.
        layout: of the T tokens.

    Returns:
        [T] float32, summing to 1 over each sequence.
    """
    first = query[layout.cu_seqlens[:-1]][layout.segments]
    logits = (first.float() * key.float()).sum(-1) * key.shape[-1] ** -0.5
    return segment_softmax(logits, alive, layout).mean(-1)


def attention_received(query: Tensor, key: Tensor, alive: Tensor, layout: Layout) -> Tensor:
    """Column means of softmax(query key^T / sqrt(f)) over the live tokens of each sequence.

    Args:
        query: [T, f].
        key: [T, f].
        alive: [T] bool.
        layout: of the T tokens.

    Returns:
        [T] float32, summing to 1 over each sequence; 0 for dropped tokens.
    """
    live = compact(torch.stack([query, key], 1), alive, layout)
    grid, there = unpack(live)
    q, k = grid.unbind(2)
    scores = q.float() @ k.float().transpose(1, 2) * query.shape[-1] ** -0.5
    weights = scores.masked_fill(~there[:, None, :], float("-inf")).softmax(-1)
    rows = there / there.sum(1, keepdim=True)
    received = (weights * rows[:, :, None]).sum(1).flatten()[live.layout.grid]
    everywhere = torch.zeros_like(query[:, 0], dtype=torch.float32)
    return everywhere.index_put((live.layout.positions,), received)


def share(importance: Tensor, alive: Tensor, layout: Layout) -> Tensor:
    """Each live token's share of its sequence's importance, times the live count.

    A token of average importance has 1, whatever the length. mean - k * std prunes the same tokens
    as on the importance itself.

    Args:
        importance: [T], not negative.
        alive: [T] bool.
        layout: of the T tokens.

    Returns:
        [T] float32; 0 for dropped tokens.
    """
    importance = torch.where(alive, importance.float(), 0)
    sums = segment_sum(torch.stack([importance, alive.float()], 1), layout)
    total, count = sums.unbind(1)
    return importance * (count / total)[layout.segments]


def log_share(importance: Tensor, alive: Tensor, layout: Layout) -> Tensor:
    """Logarithm of `share`.

    Attention received is right-skewed ([CLS] and [SEP] are sinks), so that mean - k * std of it
    prunes next to nothing; its logarithm is close to symmetric. A token of average importance
    scores 0, whatever the length.

    Args:
        importance: [T], not negative.
        alive: [T] bool.
        layout: of the T tokens.

    Returns:
        [T] float32; what dropped tokens hold has no meaning.
    """
    return share(importance, alive, layout).clamp(min=_FLOOR).log()


def hashed_uniform(input_ids: Tensor, layout: Layout, seed: int) -> Tensor:
    """Uniform numbers in [0, 1) that depend on a sequence's tokens and the seed, and nothing else.

    So random pruning is reproducible and the same for a sequence in any batch.

    Args:
        input_ids: [T], of any integer type; no token may be missing yet.
        layout: of the T tokens.
        seed: another seed, another draw.

    Returns:
        [T] float64.
    """
    tokens = _mix(_mix(input_ids.long() + seed * 1_000_003) + layout.positions)
    segments = layout.segments
    sequences = torch.zeros_like(tokens).index_add(0, segments, tokens)  # exact, in any order
    return (_mix(tokens ^ _mix(sequences)[segments]) & (2**53 - 1)).double() / 2**53


def _mix(x: Tensor) -> Tensor:
    """A 64-bit finaliser with splitmix64's constants, as signed integers; overflow wraps."""
    x = (x ^ (x >> 30)) * -0x40A7B892E31B1A47
    x = (x ^ (x >> 27)) * -0x6B2FB644ECCEEE15
    return x ^ (x >> 31)
