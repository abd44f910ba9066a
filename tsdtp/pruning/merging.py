"""Tokens that go into others instead of being lost: pure functions over several sequences."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tsdtp.packing import Layout, unpack
from tsdtp.pruning.rules import compact, ordered, rank_among, segment_sum


def merge(hidden: Tensor, mass: Tensor, into: Tensor) -> tuple[Tensor, Tensor]:
    """Averages tokens into those that stand for them, weighted by mass.

    Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023, section 3.

    Args:
        hidden: [T, d].
        mass: [T], 0 for tokens that are not there any more.
        into: [T] int64, the row that each token goes into; its own where it stays.

    Returns:
        hidden [T, d] in the same dtype, untouched where nothing came in, and the sums of mass [T].
    """
    moved = into != torch.arange(into.shape[0], device=into.device)
    receives = torch.zeros_like(into).index_add(0, into, moved.long()) > 0
    total = torch.zeros_like(mass).index_add(0, into, mass)
    sums = torch.zeros_like(hidden, dtype=torch.float32)
    sums = sums.index_add(0, into, hidden.float() * mass.float()[:, None])
    known = total.clamp(min=torch.finfo(total.dtype).tiny)  # zero: without any mass
    average = (sums / known[:, None]).to(hidden.dtype)
    return torch.where(receives[:, None], average, hidden), total


def summary_rows(
    dropped: Tensor, importance: Tensor, summary: Tensor, layout: Layout
) -> tuple[Tensor, Tensor]:
    """Where each sequence's dropped tokens are gathered.

    That is the sequence's summary token if it has one, or else the most important of the dropped
    tokens, whose row becomes the summary: no row is added, so lengths and FLOPs stay true.

    Args:
        dropped: [T] bool, tokens that go here.
        importance: [T].
        summary: [T] bool, the summary tokens so far.
        layout: of the T tokens.

    Returns:
        into [T] int64 as for `merge`, and the summary tokens from here on, [T] bool.
    """
    rows = torch.arange(dropped.shape[0], device=dropped.device)
    priority = importance.detach().double().masked_fill(~dropped, float("-inf"))
    priority = priority.masked_fill(summary, float("inf"))
    first = ordered(priority, layout)[layout.cu_seqlens[:-1]][layout.segments]
    into = torch.where(dropped, first, rows)
    loses = segment_sum(dropped.double(), layout)[layout.segments] > 0
    return into, summary | (loses & (rows == first))


def bipartite_match(
    features: Tensor, alive: Tensor, layout: Layout
) -> tuple[Tensor, Tensor, Tensor]:
    """The most similar token of the other half, for every second live token of each sequence.

    Bipartite soft matching, Bolya et al., ICLR 2023, section 3: the live tokens are dealt in turns
    to two sets; each of the first set points to its most similar one of the second, by cosine.

    Args:
        features: [T, f].
        alive: [T] bool.
        layout: of the T tokens.

    Returns:
        source [T] bool, the tokens of the first set that have someone to point to; similarity [T]
        float32 and partner [T] int64, both meaningless for the others.
    """
    odd = rank_among(alive, layout) % 2 == 1
    source = alive & ~odd
    similarity, partner = most_similar(features, source, alive & odd, layout)
    return source & similarity.isfinite(), similarity, partner


def most_similar(
    features: Tensor, source: Tensor, others: Tensor, layout: Layout
) -> tuple[Tensor, Tensor]:
    """For each source token the most similar of the other tokens of its sequence, by cosine.

    Args:
        features: [T, f].
        source: [T] bool.
        others: [T] bool.
        layout: of the T tokens.

    Returns:
        similarity [T] float32, -inf where a sequence has no others and meaningless for tokens that
        are no source, and partner [T] int64, a token's own row where it is no source.
    """
    with torch.autocast(features.device.type, enabled=False):  # it would round similarities
        return _most_similar(normalize(features.float(), dim=-1), source, others, layout)


def _most_similar(
    units: Tensor, source: Tensor, others: Tensor, layout: Layout
) -> tuple[Tensor, Tensor]:
    rows = torch.arange(source.shape[0], device=source.device)
    if torch.compiler.is_exporting():  # of one text; grids of what is chosen have no fixed shape
        best, partner = (units @ units.T).masked_fill(~others, float("-inf")).max(-1)
        return best, torch.where(source, partner, rows)
    ours, theirs = (compact(units, chosen, layout) for chosen in (source, others))
    grid, there = unpack(theirs)
    scores = (unpack(ours)[0] @ grid.transpose(1, 2)).masked_fill(~there[:, None, :], float("-inf"))
    best, column = scores.max(-1)
    partners = unpack(theirs.like(theirs.layout.positions))[0].gather(1, column)
    at, cells = ours.layout.positions, ours.layout.grid
    similarity = torch.zeros_like(units[:, 0]).index_copy(0, at, best.flatten()[cells])
    return similarity, rows.index_copy(0, at, partners.flatten()[cells])


def similarity_flops(lengths: Tensor, size: int) -> Tensor:
    """FLOPs of similarities [B] between two halves of the tokens; no other two parts cost more."""
    return lengths**2 * size / 2
