"""Compares methods on held-out rows, on the validation set, and on both together.

    python scripts/compare_held_out.py outputs/reference_control/qnli_held_out

In the folder lie records with their answers, and `held_out_correct.csv.gz`: a line for each
held-out row, its `index`, and under `METHOD-BUDGET-VARIANT_seedN` whether each run was right, 0 or
1. Each method is compared with the unpruned one and with every other at its budget, by the paired
tests of `tsdtp report`.
"""

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from tsdtp.report.answers import Run, read_runs
from tsdtp.report.comparisons import compare
from tsdtp.report.render import load_report

HELD_OUT = "held_out_correct.csv.gz"


def sets_of_rows(folder: Path) -> dict[str, list[Run]]:
    """Every run once for each set of rows: held out, of its record, both."""
    held_out: Any = pd.read_csv(folder / HELD_OUT)
    if missing := [name for name in held_out if held_out[name].isna().any()]:
        raise ValueError(f"{HELD_OUT} lacks answers in {', '.join(missing)}; valid are 0 and 1")
    sets: dict[str, list[Run]] = {"held out": [], "validation": [], "both": []}
    report = load_report(folder)
    runs, unread = read_runs(report.records, folder)
    for warning in [*report.warnings, *unread]:
        print(f"warning: {warning}", file=sys.stderr)
    for run in runs:
        known: Any = run.answers
        rows = [answers(known["index"], known["prediction"].eq(known["label"]).astype(int))]
        if (name := f"{run.name.replace(' ', '-')}_seed{run.identity['seed']}") in held_out:
            rows.append(answers(-1 - held_out["index"], held_out[name]))
            sets["held out"].append(Run(run.identity, rows[1]))
            sets["both"].append(Run(run.identity, pd.concat(rows)))
        sets["validation"].append(Run(run.identity, rows[0]))
    if not sets["both"]:
        raise ValueError(f"{folder}: no run with answers has a column in {HELD_OUT}")
    return sets


def answers(index: pd.Series, right: pd.Series) -> pd.DataFrame:
    """Right and wrong answers as a record's lie beside it; index tells the sets of rows apart."""
    return pd.DataFrame({"index": index, "label": 1, "prediction": right})


def differences(runs: list[Run]) -> list[pd.DataFrame]:
    """A line for each two methods of equal budget, and for each method and the unpruned model."""
    cells: dict[str, list[Run]] = {}
    for run in runs:
        cells.setdefault(run.name, []).append(run)
    pairs = itertools.combinations(sorted(cells, reverse=True), 2)
    tables = [compare([*cells[one], *cells[other]], [one]) for one, other in pairs]
    return [table for table in tables if len(table)]


def main(arguments: list[str] | None = None) -> None:
    """Prints the table as csv."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(arguments).folder
    try:
        sets = sets_of_rows(folder)
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    tables = [each.assign(rows=name) for name, runs in sets.items() for each in differences(runs)]
    if not tables:
        sys.exit(f"error: {folder}: no two methods answered the same rows")
    table = pd.concat(tables)
    table = table.sort_values(["first", "second"], kind="stable", ascending=False)
    columns = ["rows", *table.columns.drop(["rows", "task", "holm"])]
    print(table.to_csv(index=False, columns=columns, float_format="%.4g"), end="")


if __name__ == "__main__":
    main()
