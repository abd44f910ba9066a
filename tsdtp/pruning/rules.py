"""From scores to decisions: pure functions over the tokens of several sequences.

Every reduction runs over one sequence at a time, so that no result depends on batch-mates, but for
ties that the rounding of a matrix product decides.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad

from tsdtp.packing import Layout, Packed

_FEW = 4  # columns that are better summed one after the other on CUDA


def segment_sum(values: Tensor, layout: Layout) -> Tensor:
    """Sums floating-point values [T, ...] over each sequence: [B, ...]; an empty one sums to 0."""
    if layout.batch_size == 1:
        return values.sum(0, keepdim=True)
    if values.is_cuda and values.ndim == 2 and values.shape[1] <= _FEW:
        # Of one column CUDA adds up a sequence's tokens side by side, of several one by one.
        return torch.stack([segment_sum(column, layout) for column in values.unbind(1)], 1)
    return torch.segment_reduce(values, "sum", offsets=layout.cu_seqlens, axis=0, initial=0)


def segment_mean(values: Tensor, weights: Tensor, layout: Layout) -> Tensor:
    """[B, d] weighted mean of each sequence's values [T, d], in their type, by weights [T]."""
    total = segment_sum(values.float() * weights[:, None], layout)
    return (total / segment_sum(weights, layout)[:, None]).to(values.dtype)


def segment_max(values: Tensor, layout: Layout) -> Tensor:
    """Largest of values [T, ...] in each sequence: [B, ...]; none may be empty."""
    if layout.batch_size == 1:
        return values.amax(0, keepdim=True)
    return torch.segment_reduce(values, "max", offsets=layout.cu_seqlens, axis=0)


def masked_mean_std(scores: Tensor, chosen: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Mean and (population) standard deviation of the chosen tokens of each sequence.

    Args:
        scores: [T]; what the tokens that are not chosen hold does not matter.
        chosen: [T] bool.
        layout: of the T tokens.

    Returns:
        mean [B] and std [B] in float64, both 0 for a sequence without a chosen token.
    """
    weight = chosen.double()
    values = torch.where(chosen, scores, 0).double()
    total, count = segment_sum(torch.stack([values, weight], 1), layout).unbind(1)
    count = count.clamp(min=1)
    mean = total / count
    spread = (values - mean[layout.segments]).square() * weight
    return mean, (segment_sum(spread, layout) / count).sqrt()


def dynamic_threshold(scores: Tensor, chosen: Tensor, layout: Layout, strictness: Tensor) -> Tensor:
    """mean + strictness * std of each sequence's chosen scores, for each of its tokens.

    With strictness = -k this is the dynamic threshold mean - k * std of Keith et al. (2024).

    Returns:
        [T] float64.
    """
    mean, std = masked_mean_std(scores, chosen, layout)
    # Not by a branch, which would wait for the device; and inf * 0 is not a number.
    return torch.where(strictness.isinf(), strictness, mean + strictness * std)[layout.segments]


def ordered(scores: Tensor, layout: Layout) -> Tensor:
    """[T] int64, the rows sequence by sequence, best score first; ties go to the earlier."""
    if torch.compiler.is_exporting():  # of one text; ONNX knows one sort alone, and it is stable
        return scores.argsort(descending=True)
    order = scores.argsort(descending=True, stable=True)
    return order[layout.segments[order].argsort(stable=True)]


def rank_by_score(scores: Tensor, chosen: Tensor, layout: Layout) -> Tensor:
    """[T] int64, 0 for the best of each sequence's chosen tokens; the others come behind."""
    order = ordered(scores.detach().double().masked_fill(~chosen, float("-inf")), layout)
    rank = torch.empty_like(order)
    starts = layout.cu_seqlens[layout.segments]
    rank[order] = torch.arange(order.shape[0], device=order.device) - starts
    return rank


def rank_among(chosen: Tensor, layout: Layout) -> Tensor:
    """[T] int64, how many chosen tokens of its sequence stand before each token."""
    before = pad(chosen.cumsum(0), (1, 0))
    return before[:-1] - before[layout.cu_seqlens[:-1]][layout.segments]


def compact(values: Tensor, chosen: Tensor, layout: Layout) -> Packed:
    """The chosen rows alone, where a sequence may have none.

    Args:
        values: [T, ...].
        chosen: [T] bool.
        layout: of the T tokens.

    Returns:
        the chosen tokens; their positions are their rows among the T.
    """
    offsets = pad(chosen.cumsum(0), (1, 0))[layout.cu_seqlens]
    bounds = list(pairwise(offsets.tolist()))  # the one wait for the device
    longest = max(1, *(end - start for start, end in bounds))  # a grid has to have a column
    rows = torch.nonzero_static(chosen, size=bounds[-1][1]).squeeze(1)
    there = Layout(offsets, longest, rows).with_cached(bounds=bounds)
    return Packed(values.index_select(0, rows), there)


def top_fraction(
    scores: Tensor, chosen: Tensor, layout: Layout, fraction: float | Tensor
) -> Tensor:
    """Keeps the best ceil(fraction * n) of each sequence's n chosen tokens; ties go to the earlier.

    Args:
        scores: [T].
        chosen: [T] bool.
        layout: of the T tokens.
        fraction: in [0, 1].

    Returns:
        [T] bool, False for tokens that are not chosen.
    """
    rank = rank_by_score(scores, chosen, layout)
    # The small slack keeps 0.28 * 25 = 7.000000000000001 from becoming 8.
    count = (segment_sum(chosen.double(), layout) * fraction - 1e-9).ceil()
    return chosen & (rank < count[layout.segments])


def straight_through(keep: Tensor, soft: Tensor) -> Tensor:
    """[T] the hard decision in value, the soft one in gradient (Bengio et al., 2013)."""
    return keep.to(soft.dtype) + (soft - soft.detach())


def logistic_noise(like: Tensor) -> Tensor:
    """Draws in the shape of another tensor: the difference of two Gumbel draws.

    A softmax of two options with Gumbel noise is a sigmoid of one logit with this (Maddison, Mnih
    and Teh, "The Concrete Distribution", ICLR 2017).
    """
    return torch.rand_like(like).clamp(1e-6, 1 - 1e-6).logit()


def mean_of(values: Tensor, chosen: Tensor) -> Tensor:
    """Scalar mean of the chosen values, 0 if there is none."""
    return values.masked_fill(~chosen, 0).sum() / chosen.sum().clamp(min=1)
