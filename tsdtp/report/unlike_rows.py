"""Rows of a table that cannot be read side by side: of other seeds, or timed in other ways."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import pandas as pd

from tsdtp.report.frame import cell_name


def unlike_rows(frame: pd.DataFrame) -> Iterator[str]:
    """A line for each table whose rows differ so.

    Args:
        frame: runs as `to_frame` gives them, each cell and seed once.
    """
    for _, runs in frame.groupby(["task", "model"], sort=False):
        place = " with ".join(runs.iloc[0][["task", "model"]])
        if said := _differing(runs, "seed"):
            yield f"{place}: rows are means of different seeds ({said})"
        judged = runs[["accuracy", "bleu"]].notna().any(axis=1)  # a benchmark alone names its own
        timed = runs.loc[judged].dropna(subset=["examples_per_second", "machine"])
        if said := _differing(timed, "machine"):
            yield f"{place}: rows were timed on different machines ({said})"
        if said := _differing(timed, "timing"):
            yield f"{place}: rows were timed in different ways ({said})"


def _differing(runs: pd.DataFrame, column: str) -> str:
    """Which rows have which values, the commonest of them last; empty where all have the same."""
    values: dict[str, set] = defaultdict(set)
    for run in runs.to_dict("records"):
        values[cell_name(run)].add(run[column])
    rows: dict[str, list[str]] = defaultdict(list)
    for name, found in values.items():
        rows[", ".join(map(str, sorted(found)))].append(name)
    if len(rows) < 2:
        return ""
    *others, most = sorted(rows.items(), key=lambda item: len(item[1]))
    told = [f"{', '.join(names)}: {found}" for found, names in others]
    return "; ".join([*told, f"all others: {most[0]}"])
