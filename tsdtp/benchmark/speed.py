"""Speed and memory of a pruned model beside the same model unpruned and the plain one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from scipy.stats import iqr
from torch import Tensor, nn

from tsdtp.benchmark.latency import Timing, interleaved, ratio
from tsdtp.benchmark.memory import model_mib, peak_mib

Batch = dict[str, Tensor]
Forward = Callable[[Any], object]


def measure(
    pruned: Forward,
    unpruned: Forward,
    plain: Forward,
    batches: Sequence[Batch],
    *,
    device: str | torch.device,
    dtype: str | torch.dtype,
    rounds: int,
    min_time: float,
    threads: int | None,
    batch_size: int,
    module: nn.Module | None = None,
) -> tuple[dict, dict]:
    """Measures three forward functions over the same batches, without gradients.

    Args:
        pruned: the candidate; figures without a "vs" are its own.
        unpruned: the packed model without pruning.
        plain: the Hugging Face model on padded batches.
        batches: one or more, on the device already; tensors are [B, ...], attention_mask [B, S].
        device: recorded, and where memory is measured.
        dtype: recorded only; the functions compute in it already.
        rounds: measurements of each candidate, at least 2.
        min_time: seconds of one measurement, at least.
        threads: CPU threads of torch operators; the current setting where None.
        batch_size: recorded only; the last batch may be smaller.
        module: the pruned model, for `weights_mib`.

    Returns:
        speed: device, dtype, batch_size, threads, rounds, examples (in all batches),
            examples_per_second, latency_ms (mean over batches of the median round), vs_packed and
            vs_hf (above 1: pruned is faster), spread (of examples_per_second, vs_packed and vs_hf:
            interquartile range over the rounds, in the unit of the figure), confidence (of
            vs_packed and vs_hf: that the order is real, see `latency.ratio`).
        memory: peak_mib and hf_peak_mib (beyond weights and inputs, the larger of those on the
            `heaviest` batches), vs_packed (above 1: pruned is smaller), weights_mib (None without
            a module).

    Raises:
        ValueError: there are no batches, or fewer than two rounds.
        RuntimeError: a candidate raised; the message names it.
    """
    if not batches:
        raise ValueError("nothing to measure: there are no batches")
    threads = torch.get_num_threads() if threads is None else threads
    forwards = {"pruned": pruned, "unpruned": unpruned, "plain": plain}
    compared = compare(forwards, batches, rounds, min_time, threads, device)
    with _threads(threads):
        memory = _memory(forwards, batches, device)
    speed = {
        "device": str(device),
        "dtype": str(dtype).removeprefix("torch."),
        "batch_size": batch_size,
        "threads": threads,
        "rounds": rounds,
        **compared,
    }
    weights = None if module is None else model_mib(module)
    return speed, {**memory, "weights_mib": weights}


def compare(
    forwards: Mapping[str, Forward],
    batches: Sequence[Mapping[str, Sized]],
    rounds: int,
    min_time: float,
    threads: int | None,
    device: str | torch.device,
) -> dict:
    """Times the functions `pruned`, `unpruned` and `plain` over the same batches, in turn.

    Args:
        forwards: what each does with a batch.
        batches: named columns of as many rows as the batch has examples.
        rounds: see `interleaved`, as for the rest.
        min_time: seconds.
        threads: of torch on a CPU.
        device: of the computation.

    Returns:
        examples, examples_per_second, latency_ms, vs_packed, vs_hf, spread and confidence, as in
        `measure`.
    """
    runs = {name: partial(forward_each, function, batches) for name, function in forwards.items()}
    return _speed(interleaved(runs, rounds, min_time, threads, device), batches)


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Operators keep temporary buffers per thread, so memory needs the setting of the timing."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def forward_each(function: Forward, batches: Sequence[Mapping[str, Sized]]) -> None:
    """Calls the function with one batch after the other, without gradients; keeps no result."""
    with torch.inference_mode():
        for batch in batches:
            function(batch)


def _speed(timings: dict[str, Timing], batches: Sequence[Mapping[str, Sized]]) -> dict:
    examples = sum(len(next(iter(batch.values()))) for batch in batches)
    own = timings["pruned"]
    vs_packed, vs_hf = (ratio(timings[name], own) for name in ("unpruned", "plain"))
    return {
        "examples": examples,
        "examples_per_second": examples / own.median,
        "latency_ms": 1e3 * own.median / len(batches),
        "vs_packed": vs_packed.median,
        "vs_hf": vs_hf.median,
        "spread": {
            "examples_per_second": float(iqr([examples / s for s in own.seconds])),
            "vs_packed": vs_packed.spread,
            "vs_hf": vs_hf.spread,
        },
        "confidence": {"vs_packed": vs_packed.confidence, "vs_hf": vs_hf.confidence},
    }


def heaviest(batches: Sequence[Batch]) -> list[int]:
    """Where the batches lie, one or two, that a forward may hold most for.

    A padded one computes every place; a packed one the tokens alone, and most of them may be in
    another batch.
    """
    places = [sum(tensor.numel() for tensor in batch.values()) for batch in batches]
    tokens = [int(batch["attention_mask"].sum()) for batch in batches]
    return sorted({counts.index(max(counts)) for counts in (places, tokens)})


def _memory(
    forwards: dict[str, Forward], batches: Sequence[Batch], device: str | torch.device
) -> dict:
    heavy = [batches[i] for i in heaviest(batches)]
    peaks = {
        name: peak_mib(partial(forward_each, function, heavy), device)
        for name, function in forwards.items()
    }
    return {
        "peak_mib": peaks["pruned"],
        "vs_packed": peaks["unpruned"] / peaks["pruned"] if peaks["pruned"] else None,
        "hf_peak_mib": peaks["plain"],
    }
