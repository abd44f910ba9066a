"""How two methods differ on the same examples: in accuracy, or in BLEU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from sacrebleu.metrics.bleu import BLEU
from scipy import stats

from tsdtp.report.answers import Run

_ROUNDING = 1e-9  # of means of -1, 0 and 1, which differ by more where they differ


def difference(pairs: list[tuple[Run, Run]], samples: int) -> dict[str, Any] | None:
    """How the first of each pair differs from the second, which has its seed.

    Args:
        pairs: of one task.
        samples: of the bootstrap over examples, which all seeds share.

    Returns:
        What `compare` says of two methods, but for their names; None where they do not all answer
        the same examples.
    """
    tables = _same_examples(pairs)
    if tables is None:
        return None
    metric = pairs[0][0].metric
    found = {"accuracy": _of_accuracy, "bleu": _of_bleu}[metric](tables, samples)
    return {"metric": metric, "seeds": len(pairs), **found}


def _same_examples(pairs: list[tuple[Run, Run]]) -> list[pd.DataFrame] | None:
    """Of each pair its predictions side by side, in the order of the examples."""
    tables: list[pd.DataFrame] = []
    if not all(pairs[0][0].asked_like(run) for pair in pairs for run in pair):
        return None  # other texts under the same indices
    for one, other in pairs:
        both = one.answers.merge(other.answers, on=["index", "label"], suffixes=("", "_other"))
        if len(both) < max(len(one.answers), len(other.answers)):
            return None  # other examples: nothing to pair
        tables.append(both.sort_values("index", ignore_index=True))
        if not tables[0]["index"].equals(tables[-1]["index"]):
            return None  # other examples in another seed: no example has a mean
    return tables


def _of_accuracy(tables: list[pd.DataFrame], samples: int) -> dict[str, Any]:
    # [seeds, n] 1 where the first alone is right, -1 where the second alone is
    found = np.stack([_right(each, "") - _right(each, "_other") for each in tables])
    each = found.mean(0)
    drawn = [each[rows].mean() for rows in _resampled(len(each), samples)]
    return {
        **{"n": len(each), "difference": each.mean(), **_interval(drawn)},
        **{"p": _p_value(each, len(found)), **_over_seeds(found.mean(1))},
    }


def _right(table: pd.DataFrame, whose: str) -> np.ndarray:
    return table[f"prediction{whose}"].eq(table["label"]).to_numpy(int)


def _of_bleu(tables: list[pd.DataFrame], samples: int) -> dict[str, Any]:
    both = ("counts", "counts_other")
    counts = np.array([[each[name].tolist() for name in both] for each in tables], float)
    by_seed, n = _bleu_differences(counts.sum(2)), counts.shape[2]
    drawn = [
        _bleu_differences(np.bincount(rows, minlength=n) @ counts).mean()
        for rows in _resampled(n, samples)
    ]
    beyond = np.abs(np.subtract(drawn, np.mean(drawn))) >= abs(by_seed.mean())
    return {
        **{"n": n, "difference": by_seed.mean(), **_interval(drawn)},
        **{"p": (beyond.sum() + 1) / (samples + 1), **_over_seeds(by_seed)},
    }


def _bleu_differences(counts: np.ndarray) -> np.ndarray:
    """[seeds] of the corpora [seeds, 2, counts]."""
    orders = (counts.shape[-1] - 2) // 2
    scores = [
        BLEU.compute_bleu(each[:orders], each[orders:-2], *each[-2:], smooth_method="exp").score
        for each in counts.reshape(-1, counts.shape[-1]).astype(int).tolist()
    ]
    first, second = np.reshape(scores, (-1, 2)).T
    return first - second


def _resampled(n: int, samples: int) -> Iterator[np.ndarray]:
    """Rows of as many examples, drawn with replacement."""
    generator = np.random.default_rng(0)
    return (generator.integers(n, size=n) for _ in range(samples))


def _interval(drawn: list[float]) -> dict[str, float]:
    return dict(zip(("low", "high"), np.quantile(drawn, (0.025, 0.975)), strict=True))


def _over_seeds(differences: np.ndarray) -> dict[str, float]:
    """How the differences [seeds] vary, and whether they might be 0; NaN for one seed."""
    if len(differences) == 1:
        return {"seed_sd": np.nan, "seed_p": np.nan}
    if np.ptp(differences) < _ROUNDING:
        return {"seed_sd": 0.0, "seed_p": np.nan}
    return {"seed_sd": float(differences.std(ddof=1)), "seed_p": _t_test(differences)}


def _p_value(differences: np.ndarray, seeds: int) -> float:
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    if better + worse == 0:
        return 1.0
    if seeds == 1:
        return float(stats.binomtest(better, better + worse).pvalue)
    return _t_test(differences)


def _t_test(differences: np.ndarray) -> float:
    _, p = stats.ttest_1samp(differences, 0)
    return float(np.asarray(p))
