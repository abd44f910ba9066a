"""Which methods are compared with which, on the same examples."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from tsdtp.atomic import write_atomic
from tsdtp.report.answers import Run
from tsdtp.report.differences import difference

REFERENCE = "ts_dtp"
_COLUMNS = [
    *("task", "model", "first", "second", "metric", "seeds", "n", "difference", "low", "high", "p"),
    *("seed_sd", "seed_p"),
]


def references_of(runs: Iterable[Run], asked: Collection[str] = ()) -> Collection[str]:
    """The methods that others are compared with: those asked for, or TS-DTP if it is there.

    Args:
        runs: as `read_runs` gives them.
        asked: methods and their variants, with a budget or without: `transkimmer`, `ltp 0.4 long`.

    Raises:
        ValueError: No run is called so.
    """
    names = sorted({name for run in runs for name in run.names})
    asked = [name if name in names else _with_plain_budget(name) for name in asked]
    for name in asked:
        if name not in names:
            valid = ", ".join(names) or "none, for no run left its answers"
            raise ValueError(f"no run to compare with is called {name!r}; valid: {valid}")
    return asked or ([REFERENCE] if REFERENCE in names else [])


def _with_plain_budget(name: str) -> str:
    """`ltp 0.40` as runs are called, `ltp 0.4`."""
    method, _, rest = name.partition(" ")
    budget, *variant = rest.split(" ")
    with suppress(ValueError):
        budget = f"{float(budget):g}"
    return " ".join([method, budget, *variant]).rstrip()


def compare(
    runs: Iterable[Run], references: Collection[str] = (REFERENCE,), samples: int = 2000
) -> pd.DataFrame:
    """Differences in quality between the methods of a task and model, on the same examples.

    Every method is compared with the unpruned model, and a reference with every other method, and
    with each other variant of its own, at its budget. Runs are paired by seed; an example counts by
    the mean of its differences over seeds, and BLEU by the mean of theirs.

    Args:
        runs: as `read_runs` gives them.
        references: names of runs; none: only the unpruned model is compared with.
        samples: of the bootstrap.

    Returns:
        task, model, first, second, metric (accuracy, a fraction, or bleu, 0 to 100), seeds, n,
        difference (first - second), low and high (its 95 % interval, a percentile bootstrap over
        examples: Efron and Tibshirani, 1993; of BLEU over sentences, the same of all seeds: Koehn,
        EMNLP 2004), p (two-sided: with one seed McNemar's exact test, with several a t-test over
        examples; of BLEU the part of the samples as far from their mean as the difference from 0),
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
        if pairs and _asked(*pairs[0], references) and (found := difference(pairs, samples)):
            (first, second), (task, model) = pairs[0], pairs[0][0].place
            named = {"task": task, "model": model, "first": first.name, "second": second.name}
            rows.append({**named, **found})
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.assign(holm=table.groupby(["task", "model"])["p"].transform(_holm))


def save_comparisons(table: pd.DataFrame, out: str | Path) -> Path:
    """Writes what `compare` gives as `paired.csv`, unrounded."""
    return write_atomic(Path(out) / "paired.csv", table.to_csv(index=False, lineterminator="\n"))


def _asked(first: Run, second: Run, references: Collection[str]) -> bool:
    """Whether these two are compared, in this order: no two in both."""
    if first.place != second.place or first.cell == second.cell:
        return False
    whole = [run.identity["pruning"] == "none" for run in (first, second)]
    if any(whole):
        return whole[1] and (not whole[0] or first.name > second.name)
    named = [not {*references}.isdisjoint(run.names) for run in (first, second)]
    ordered = named[0] and (not named[1] or first.name > second.name)
    return ordered and first.key("budget") == second.key("budget")


def _holm(p: pd.Series) -> pd.Series:
    """Holm's step-down correction for several tests (Scandinavian Journal of Statistics, 1979)."""
    ranked = p.sort_values()
    return (ranked * np.arange(len(p), 0, -1)).cummax().clip(upper=1).reindex(p.index)
