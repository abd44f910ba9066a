"""How close a forward comes to what the machine can do: the roofline bound.

Williams et al., "Roofline: an insightful visual performance model for multicore architectures",
CACM 2009: an operation takes at least its arithmetic at the machine's rate of arithmetic, and at
least its bytes at the bandwidth of memory. Both limits are measured here, by torch's own kernels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from tsdtp.models.cost import EncoderShape, block_tokens, decision_flops
from tsdtp.pruning import TokenPruner

_ROWS = 4096  # of the product that shows the rate; more is not faster
_COPY = 2**28  # bytes of the copied tensor, beyond any cache


@dataclass(frozen=True)
class Limits:
    """What a machine can do at most, in one type of numbers and with so many threads.

    Attributes:
        flops_per_second: of a large matrix product.
        bytes_per_second: read and written by a large copy.
    """

    flops_per_second: float
    bytes_per_second: float


@dataclass(frozen=True)
class Work:
    """One operation: arithmetic, and bytes that have to cross memory once (inputs and outputs)."""

    flops: float
    bytes: float

    def seconds(self, limits: Limits) -> float:
        """The least time it can take."""
        return max(self.flops / limits.flops_per_second, self.bytes / limits.bytes_per_second)


def measure_limits(
    shape: EncoderShape, device: torch.device, dtype: torch.dtype, threads: int
) -> Limits:
    """Measures matrix products of the encoder's widths, and a copy; about a second.

    Args:
        shape: of the encoder, whose widths the product has.
        device: to measure.
        dtype: of the product.
        threads: of torch on a CPU.
    """
    rows = torch.randn(_ROWS, shape.hidden_size, device=device, dtype=dtype)
    weight = torch.randn(shape.hidden_size, shape.intermediate_size, device=device, dtype=dtype)
    source = torch.zeros(_COPY, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    product = _best(lambda: rows @ weight, threads)
    copy = _best(lambda: target.copy_(source), threads)
    return Limits(2 * rows.numel() * weight.shape[1] / product, 2 * _COPY / copy)


def _best(function, threads: int) -> float:
    """Seconds of the fastest of several measurements: what the machine can do undisturbed."""
    timer = Timer("run()", globals={"run": function}, num_threads=threads)
    timer.timeit(1)
    return min(timer.blocked_autorange(min_run_time=0.3).times)


def encoder_work(
    shape: EncoderShape, lengths: Tensor, pruner: TokenPruner | None, itemsize: int
) -> Iterator[Work]:
    """The operations of one batch's blocks, each fused as far as it could be.

    Weights are read once per batch; normalisations, activations and gathering count as nothing, so
    that what follows is a bound.

    Args:
        shape: of the encoder.
        lengths: [L + 1, B] live tokens entering block 0 and after each block's dropping.
        pruner: whose scoring is counted; None counts the blocks alone.
        itemsize: bytes of a number.
    """
    d, wide, heads = shape.hidden_size, shape.intermediate_size, shape.all_heads_size
    shared = 2 * round(heads * shape.key_value_share)  # keys and values
    inner = (shape.feed_forward_products - 1) * wide
    for layer, rows in enumerate(block_tokens(shape, lengths.double(), pruner)):
        entering = rows[0]
        tokens, projected, kept = (counts.sum().item() for counts in rows)
        yield _linear(tokens, d, heads + shared, itemsize)
        moved = tokens * (2 * heads + shared) * itemsize
        yield Work(4 * heads * entering.square().sum().item(), moved)
        yield _linear(projected, heads, d, itemsize)
        yield _linear(kept, d, inner, itemsize)
        yield _linear(kept, wide, d, itemsize)
        if pruner is not None and pruner.prunes(layer):
            flops = decision_flops(shape, pruner, layer, entering).sum().item()
            yield Work(flops, (tokens + kept) * d * itemsize)


def _linear(rows: float, wide: int, high: int, itemsize: int) -> Work:
    numbers = rows * wide + wide * high + rows * high
    return Work(2 * rows * wide * high, numbers * itemsize)


def bound(work: Iterable[Work], limits: Limits) -> tuple[float, float]:
    """The least seconds that these operations can take one after the other, and their bytes."""
    parts = list(work)
    return sum(part.seconds(limits) for part in parts), sum(part.bytes for part in parts)
