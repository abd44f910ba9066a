"""Answers to single examples, beside the records: read, and compared in pairs."""

from __future__ import annotations

import json
import zlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from tsdtp.report.frame import Mark, mark
from tsdtp.results import EXAMPLES, PREDICTIONS, RECORD_NAME, RunRecord, read_record

CELL = ("task", "model", "pruning", "budget", "variant")


@dataclass(frozen=True)
class Run:
    """One run's identity and its answers: columns index, label, prediction, ..."""

    identity: dict[str, Any]
    answers: pd.DataFrame

    @property
    def cell(self) -> tuple:
        """What the seeds of one row of a table share."""
        return tuple(self.identity.get(key) for key in CELL)

    @property
    def name(self) -> str:
        """Method, budget and variant."""
        parts = (self.identity.get(key) for key in ("pruning", "budget", "variant"))
        return " ".join(str(part) for part in parts if part is not None)


def read_runs(folder: str | Path, among: Container[Mark] | None = None) -> list[Run]:
    """Runs under a folder that left their answers, sorted by path; damaged ones are left out.

    Args:
        folder: searched at any depth.
        among: the marks of the records that count; None: all do.
    """
    runs = []
    for path, record in _beside(folder, PREDICTIONS, among):
        try:
            answers = pd.read_csv(path)
        except (OSError, ValueError, EOFError, zlib.error):
            continue
        if {"index", "label", "prediction"} <= set(answers):
            runs.append(Run(record.identity, answers))
    return runs


def read_examples(folder: str | Path, among: Container[Mark] | None = None) -> list[dict[str, Any]]:
    """Examples with tokens: `{"run": record, "labels", "layers", "examples"}`; see `read_runs`."""
    found = []
    for path, record in _beside(folder, EXAMPLES, among):
        try:
            shown = json.loads(path.read_text(encoding="utf-8"))
            found.append({"run": record, **{k: shown[k] for k in ("labels", "layers", "examples")}})
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def _beside(
    folder: str | Path, name: str, among: Container[Mark] | None
) -> Iterator[tuple[Path, RunRecord]]:
    """Files of that name with the record that each lies beside, if it counts."""
    for path in sorted(Path(folder).rglob(name)):
        try:
            record = read_record(path.with_name(RECORD_NAME))
        except (OSError, ValueError):
            continue
        if among is None or mark(record) in among:
            yield path, record


def compare(runs: Iterable[Run], samples: int = 2000) -> pd.DataFrame:
    """Differences in accuracy between the methods of a task and model, on the same examples.

    Every method is compared with the unpruned model, and TS-DTP with every other method, and with
    each variant of its own, at its budget. Runs are paired by seed; an example counts by the mean
    of its differences over seeds.

    Args:
        runs: as `read_runs` gives them.
        samples: of the bootstrap.

    Returns:
        task, model, first, second, seeds, n, difference (of accuracy, first - second), low and
        high (its 95 % interval, a percentile bootstrap over examples: Efron and Tibshirani, 1993)
        and p (two-sided: with one seed McNemar's exact test, with several a t-test over examples).
    """
    seeds: dict[tuple, dict[int, Run]] = {}
    for run in runs:
        seeds.setdefault(run.cell, {})[run.identity["seed"]] = run
    rows = []
    for first, ours in seeds.items():
        for second, others in seeds.items():
            if _asked(first, second) and (shared := sorted(ours.keys() & others.keys())):
                pairs = [(ours[seed], others[seed]) for seed in shared]
                if (row := _difference(pairs, samples)) is not None:
                    rows.append(row)
    columns = ["task", "model", "first", "second", "seeds", "n", "difference", "low", "high", "p"]
    return pd.DataFrame(rows, columns=columns)


def _asked(first: tuple, second: tuple) -> bool:
    """Whether these two cells are compared."""
    (*place, pruning, budget, variant), (*other, rival, rival_budget, _) = first, second
    if place != other or first == second:
        return False
    ours = pruning == "ts_dtp" and not variant
    return rival == "none" or (ours and budget == rival_budget)


def _difference(pairs: list[tuple[Run, Run]], samples: int) -> dict[str, Any] | None:
    differences, asked = [], None
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
    each = np.mean(differences, axis=0)
    generator = np.random.default_rng(0)
    means = [generator.choice(each, len(each)).mean() for _ in range(samples)]
    low, high = np.quantile(means, (0.025, 0.975))
    task, model = pairs[0][0].cell[:2]
    return {
        **{"task": task, "model": model, "first": pairs[0][0].name, "second": pairs[0][1].name},
        **{"seeds": len(pairs), "n": len(each), "difference": each.mean(), "low": low},
        **{"high": high, "p": _p_value(each, len(pairs))},
    }


def _p_value(differences: np.ndarray, seeds: int) -> float:
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    if better + worse == 0:
        return 1.0
    if seeds == 1:
        return float(stats.binomtest(better, better + worse).pvalue)
    _, p = stats.ttest_1samp(differences, 0)
    return float(np.asarray(p))
