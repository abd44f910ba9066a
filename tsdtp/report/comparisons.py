"""Differences in accuracy between methods, on the same examples."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from tsdtp.atomic import write_atomic
from tsdtp.report.answers import Run

REFERENCE = "ts_dtp"
_ROUNDING = 1e-9  # of means of -1, 0 and 1, which differ by more where they differ
_COLUMNS = [
    *("task", "model", "first", "second", "seeds", "n", "difference", "low", "high", "p"),
    *("seed_sd", "seed_p"),
]


def reference_of(runs: Iterable[Run], asked: str | None = None) -> str | None:
    """The method that the others are compared with: the one asked for, or TS-DTP if it is there.

    Args:
        runs: as `read_runs` gives them.
        asked: a method and its variant, with its budget or without: `transkimmer`, `ltp 0.4 long`.

    Raises:
        ValueError: No run is called so.
    """
    names = sorted({name for run in runs for name in run.names})
    if asked is not None and asked not in names:
        valid = ", ".join(names) or "none, for no run left its answers"
        raise ValueError(f"no run to compare with is called {asked!r}; valid: {valid}")
    return asked or (REFERENCE if REFERENCE in names else None)


def compare(
    runs: Iterable[Run], reference: str | None = REFERENCE, samples: int = 2000
) -> pd.DataFrame:
    """Differences in accuracy between the methods of a task and model, on the same examples.

    Every method is compared with the unpruned model, and the reference with every other method, and
    with each other variant of its own, at its budget. Runs are paired by seed; an example counts by
    the mean of its differences over seeds.

    Args:
        runs: as `read_runs` gives them.
        reference: one of the names of its runs; None: only the unpruned model is compared with.
        samples: of the bootstrap.

    Returns:
        task, model, first, second, seeds, n, difference (of accuracy, first - second), low and
        high (its 95 % interval, a percentile bootstrap over examples: Efron and Tibshirani, 1993),
        p (two-sided: with one seed McNemar's exact test, with several a t-test over examples),
        seed_sd (sample deviation of the seeds' differences), seed_p (of a t-test over them) and
        holm (p, corrected for all tests of its task and model). The interval and p say how these
        trained models differ on further examples; whether others, trained anew, would, is what
        seed_sd and seed_p tell as well as so few seeds can. NaN for one seed, and seed_p where all
        seeds differ alike.
    """
    cells: dict[tuple, dict[int, Run]] = {}
    for run in runs:
        cells.setdefault(run.cell, {})[run.identity["seed"]] = run
    rows = []
    for ours, others in product(cells.values(), repeat=2):
        pairs = [(ours[seed], others[seed]) for seed in sorted(ours.keys() & others.keys())]
        if pairs and _asked(*pairs[0], reference) and (each := _by_example(pairs)) is not None:
            rows.append(_difference(pairs, each, samples))
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.assign(holm=table.groupby(["task", "model"])["p"].transform(_holm))


def save_comparisons(table: pd.DataFrame, out: str | Path) -> Path:
    """Writes what `compare` gives as `paired.csv`, unrounded."""
    return write_atomic(Path(out) / "paired.csv", table.to_csv(index=False, lineterminator="\n"))


def _asked(first: Run, second: Run, reference: str | None) -> bool:
    """Whether these two are compared, in this order."""
    if first.place != second.place or first.cell == second.cell:
        return False
    if second.identity["pruning"] == "none":
        return first.identity["pruning"] != "none" or first.name > second.name  # once, not twice
    named = first.identity["pruning"] != "none" and reference in first.names
    return named and first.key("budget") == second.key("budget")


def _difference(pairs: list[tuple[Run, Run]], found: np.ndarray, samples: int) -> dict[str, Any]:
    """One row, of differences [seeds, n]."""
    each = found.mean(0)
    generator = np.random.default_rng(0)
    means = [generator.choice(each, len(each)).mean() for _ in range(samples)]
    low, high = np.quantile(means, (0.025, 0.975))
    first, second = pairs[0]
    task, model = first.place
    return {
        **{"task": task, "model": model, "first": first.name, "second": second.name},
        **{"seeds": len(pairs), "n": len(each), "difference": each.mean(), "low": low},
        **{"high": high, "p": _p_value(each, len(pairs)), **_over_seeds(found.mean(1))},
    }


def _by_example(pairs: list[tuple[Run, Run]]) -> np.ndarray | None:
    """[pairs, n] 1 where the first alone is right, -1 where the second alone is.

    None where they do not all answer the same examples.
    """
    differences, asked = [], None
    if not all(pairs[0][0].asked_like(run) for pair in pairs for run in pair):
        return None  # other texts under the same indices
    for one, other in pairs:
        both = one.answers.merge(other.answers, on=["index", "label"], suffixes=("", "_other"))
        if len(both) < max(len(one.answers), len(other.answers)):
            return None  # other examples: nothing to pair
        both = both.sort_values("index", ignore_index=True)
        if asked is not None and not both["index"].equals(asked):
            return None  # other examples in another seed: no example has a mean
        asked = both["index"]
        right = both["prediction"].eq(both["label"]).astype(int)
        differences.append(right - both["prediction_other"].eq(both["label"]).astype(int))
    return np.stack(differences)


def _over_seeds(differences: np.ndarray) -> dict[str, float]:
    """How the differences [seeds] vary, and whether they might be 0; NaN for one seed."""
    if len(differences) == 1:
        return {"seed_sd": np.nan, "seed_p": np.nan}
    if np.ptp(differences) < _ROUNDING:
        return {"seed_sd": 0.0, "seed_p": np.nan}
    _, p = stats.ttest_1samp(differences, 0)
    return {"seed_sd": float(differences.std(ddof=1)), "seed_p": float(np.asarray(p))}


def _p_value(differences: np.ndarray, seeds: int) -> float:
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    if better + worse == 0:
        return 1.0
    if seeds == 1:
        return float(stats.binomtest(better, better + worse).pvalue)
    _, p = stats.ttest_1samp(differences, 0)
    return float(np.asarray(p))


def _holm(p: pd.Series) -> pd.Series:
    """Holm's step-down correction for several tests (Scandinavian Journal of Statistics, 1979)."""
    ranked = p.sort_values()
    return (ranked * np.arange(len(p), 0, -1)).cummax().clip(upper=1).reindex(p.index)
