"""The grid a sweep set out to fill, so that a half-finished one shows its gaps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tsdtp.report.frame import FINE_TUNED, KEYS, Mark, comparable, mark
from tsdtp.results import RunRecord

SWEEP_NAME = "sweep.json"
_CELL = [*KEYS, "seed"]


@dataclass(frozen=True)
class Sweep:
    """Name, command and expected cells; ``cells`` has one row for each cell and seed.

    ``replaced`` holds the marks of records that the sweep set out to replace.
    """

    name: str
    command: str
    cells: pd.DataFrame
    replaced: frozenset[Mark] = frozenset()


def read_sweep(folder: str | Path) -> Sweep | None:
    """Reads ``folder/sweep.json``; None if there is none.

    Raises:
        ValueError: The file is damaged; the message names it and the cell.
    """
    path = Path(folder) / SWEEP_NAME
    if not path.exists():
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not a readable sweep ({error})") from error
    cells = data.get("cells") if isinstance(data, dict) else None
    if not isinstance(cells, list):
        raise ValueError(f"{path}: expected an object with a list 'cells'")
    try:
        name, command = data.get("name") or path.parent.name, data.get("command") or ""
        return Sweep(name, command, _cells(cells), _replaced(cells))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def _cells(cells: list[dict[str, Any]]) -> pd.DataFrame:
    for number, cell in enumerate(cells):
        if missing := [key for key in _CELL if key not in cell and key != "variant"]:
            raise ValueError(f"cell {number} lacks {', '.join(missing)}")
    frame = pd.DataFrame(cells, columns=_CELL).astype({"budget": float, "seed": int})
    return comparable(frame).drop_duplicates(ignore_index=True)


def _replaced(cells: list[dict[str, Any]]) -> frozenset[Mark]:
    found = (cell.get("replaces") for cell in cells)
    return frozenset((run, execution, date) for run, execution, date in filter(None, found))


def trained(record: RunRecord) -> Mark:
    """A record's mark by its training: measured again, it is still what a sweep was to replace."""
    return (*mark(record)[:2], record.provenance["date"])


def without_replaced(
    records: dict[Path, RunRecord], sweep: Sweep | None
) -> tuple[dict[Path, RunRecord], list[str]]:
    """Leaves out what the sweep set out to replace and has not; a line names each of them."""
    replaced = sweep.replaced if sweep is not None else frozenset()
    old = {  # older sweeps note the latter mark
        path: f"run {record.identity['run_id']} left out: this sweep was to replace it, and has not"
        for path, record in records.items()
        if {trained(record), mark(record)} & replaced
    }
    return {path: r for path, r in records.items() if path not in old}, list(old.values())


def mark_missing(cells: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Adds a boolean column ``missing`` to the cells: no run in ``frame`` fills this one."""
    runs = frame[_CELL].drop_duplicates()
    marked = cells.merge(runs, on=_CELL, how="left", indicator="missing")
    return marked.assign(missing=marked["missing"].eq("left_only"))


def missing_runs(marked: pd.DataFrame) -> pd.DataFrame:
    """Number of missing runs for each cell but its seed, finished cells included."""
    # The fine-tuned row is read off the unpruned runs: it is expected where they are.
    derived = marked[marked["pruning"] == "none"].assign(pruning=FINE_TUNED)
    both = pd.concat([marked, derived], ignore_index=True)
    return both.groupby(KEYS, dropna=False, as_index=False).agg(missing=("missing", "sum"))


def finished(marked: pd.DataFrame) -> str:
    """``17 of 24 runs finished``."""
    return f"{marked['missing'].tolist().count(False)} of {len(marked)} runs finished"
