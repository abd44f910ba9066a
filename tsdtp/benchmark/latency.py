"""Latency of several candidates, measured in turn so that drift of the machine hits all alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from statistics import median

import torch
from scipy.stats import binomtest, iqr
from torch.utils.benchmark import Timer


@dataclass(frozen=True)
class Timing:
    """One candidate's latency: `seconds` per call, one entry for each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds per call."""
        return median(self.seconds)


@dataclass(frozen=True)
class Ratio:
    """How many times one timing is another.

    Attributes:
        median: ratio of the medians.
        spread: interquartile range over the rounds.
        confidence: in the order of the two, 1 - p of a sign test over the rounds.
    """

    median: float
    spread: float
    confidence: float


def ratio(numerator: Timing, denominator: Timing) -> Ratio:
    """Compares two timings of the same interleaved run.

    The spread comes from the ratios within each round: what slows a whole round cancels out. The
    confidence is 1 - p of the two-sided sign test over the rounds: with 7 of them at most 0.984.

    Raises:
        ValueError: the timings have different numbers of rounds.
    """
    pairs = zip(numerator.seconds, denominator.seconds, strict=True)
    ratios = [above / below for above, below in pairs]
    spread = float(iqr(ratios))
    return Ratio(numerator.median / denominator.median, spread, _confidence(ratios))


def _confidence(ratios: Sequence[float]) -> float:
    """1 - p of the sign test that ratios lie above and below 1 equally often."""
    above, untied = sum(r > 1 for r in ratios), sum(r != 1 for r in ratios)
    return 1 - float(binomtest(above, untied).pvalue) if untied else 0.0


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int = 7,
    min_time: float = 0.2,
    threads: int | None = None,
    device: str | torch.device = "cpu",
) -> dict[str, Timing]:
    """Times candidates in the order A B C A B C ..., after a warm-up round in the same order.

    Each measurement is preceded by at least two untimed calls of the same candidate (`Timer` does
    that), so no candidate pays for caches its predecessor left cold. CUDA is synchronised.

    Args:
        candidates: name → function without arguments.
        rounds: measurements of each candidate, at least 2.
        min_time: seconds one measurement should last; sets how often a candidate is called in it.
        threads: CPU threads of torch operators; the current setting where None.
        device: where the candidates compute; matters where there are several GPUs.

    Raises:
        ValueError: no candidates, or too few rounds to know a spread.
        RuntimeError: a candidate raised; the message names it, the cause is attached.
    """
    if not candidates or rounds < 2:
        raise ValueError(f"need a candidate and 2 rounds, got {list(candidates)}, {rounds} rounds")
    threads = torch.get_num_threads() if threads is None else threads
    with _current(torch.device(device)):
        timers = {
            name: Timer("run()", globals={"run": run}, num_threads=threads)
            for name, run in candidates.items()
        }
        numbers = {name: _calls(name, timer, min_time) for name, timer in timers.items()}
        table = [
            [_seconds(name, timer, numbers[name]) for name, timer in timers.items()]
            for _ in range(rounds)
        ]
    return dict(zip(candidates, map(Timing, zip(*table, strict=True)), strict=True))


def _current(device: torch.device) -> AbstractContextManager[object]:
    """Makes a GPU the current one: `Timer` synchronises no other."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _calls(name: str, timer: Timer, min_time: float) -> int:
    """How many calls last min_time. A short trial overestimates a call, so trials grow."""
    number = 1
    while (elapsed := number * _seconds(name, timer, number)) < min_time:
        wanted = number * min_time / max(elapsed, 1e-9)
        number = max(2 * number, math.ceil(1.2 * wanted))  # a margin: later rounds may be faster
    return number


def _seconds(name: str, timer: Timer, number: int) -> float:
    """Seconds per call, from `number` calls in one measurement."""
    try:
        return timer.timeit(number).median
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise RuntimeError(f"candidate {name!r} failed: {what}") from error
