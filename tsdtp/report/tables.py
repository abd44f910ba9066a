"""The paper's tables: methods down, quality, cost, speed and memory across, gaps marked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tsdtp.report.caption import caption
from tsdtp.report.frame import FINE_TUNED, KEYS, aggregate, with_fine_tuned
from tsdtp.report.sweep import finished, mark_missing, missing_runs

GAP = "–"
# Order and names of the paper; any other method follows under its own name.
LABELS = {
    FINE_TUNED: "Fine-Tuned Model (plain Hugging Face forward)",
    "none": "No Pruning (packed)",
    "dtp": "General DTP",
    "ts_dtp": "TS-DTP",
    "ts_dtp_described": "TS-DTP as described",
    "ts_dtp_notebook": "TS-DTP as in the notebook",
    "random": "Random",
    "topk": "Top-k",
    "cls_attention": "CLS attention",
    "power_bert": "PoWER-BERT",
    "ltp": "LTP",
    "transkimmer": "Transkimmer",
    "tome": "ToMe",
    "depth": "Fewer blocks",
}
# metric -> header, factor to the shown unit
_QUALITY = {"accuracy": ("Accuracy (%)", 100), "bleu": ("BLEU", 1), "chrf": ("chrF", 1)}
# Of writing a target with the whole model; every other column of cost is the encoder's.
_WRITING = {
    "translation_flops_ratio": ("Whole", "{:.3f}"),
    "writing_vs_packed": ("Writing vs packed", "{:.2f}×"),
    "writing_vs_hf": ("Writing vs HF", "{:.2f}×"),
}
_UNITS = (("GFLOPs", 1e9), ("MFLOPs", 1e6), ("kFLOPs", 1e3), ("FLOPs", 1))

Row = dict[str, Any]
Cell = Callable[[Row], str]


@dataclass(frozen=True)
class Table:
    """One task and model.

    Attributes:
        task: Task of every row.
        model: Model of every row.
        caption: What was measured, where and when.
        numbers: Unrounded means, deviations and counts, one row for each method, budget and
            variant.
        cells: The same rows as they are shown, strings only.
    """

    task: str
    model: str
    caption: str
    numbers: pd.DataFrame
    cells: pd.DataFrame


def build_tables(frame: pd.DataFrame, cells: pd.DataFrame | None = None) -> list[Table]:
    """One table for each task and model.

    Args:
        frame: Runs as ``to_frame`` gives them, each cell and seed once.
        cells: Expected cells of a sweep; those without a run become rows of gaps.
    """
    marked = None if cells is None else mark_missing(cells, frame)
    numbers = _numbers(frame, marked)
    places = dict.fromkeys(zip(numbers["task"], numbers["model"], strict=True))
    return [_table(task, model, numbers, frame, marked) for task, model in places]


def _numbers(frame: pd.DataFrame, marked: pd.DataFrame | None) -> pd.DataFrame:
    """The aggregate in the order of the paper, with a row for every expected cell."""
    numbers = aggregate(with_fine_tuned(frame))
    if marked is None:
        numbers["missing"] = 0
    else:
        numbers = numbers.merge(missing_runs(marked), on=KEYS, how="outer")
    # The outer merge leaves NaN where an expected cell has no run.
    counts = [name for name in numbers if name.endswith("_count")] + ["runs", "missing"]
    numbers[counts] = numbers[counts].fillna(0).astype(int)
    numbers = numbers[numbers["runs"] + numbers["missing"] > 0]  # of unpruned runs on fewer blocks
    numbers.insert(2, "method", [_method(row) for _, row in numbers.iterrows()])
    order = list(LABELS)
    rank = [order.index(name) if name in order else len(order) for name in numbers["pruning"]]
    numbers = numbers.assign(_rank=rank).sort_values(
        ["task", "model", "_rank", "pruning", "budget", "variant"],
        ascending=[True, True, True, True, False, True],
        na_position="first",
    )
    return numbers.drop(columns="_rank").reset_index(drop=True)


def _method(row: pd.Series) -> str:
    """Its name, and how it was executed where not packed."""
    name, execution = str(row["pruning"]), row["execution"]
    label = LABELS.get(name, name)
    if pd.isna(execution) or execution == "packed":
        return label
    return f"{label.removesuffix(' (packed)')} ({execution})"


def _table(
    task: str, model: str, numbers: pd.DataFrame, frame: pd.DataFrame, marked: pd.DataFrame | None
) -> Table:
    rows = _at(numbers, task, model).reset_index(drop=True)
    state = ""
    if marked is not None:
        expected = _at(marked, task, model)
        state = finished(expected) if len(expected) else "not part of the sweep"
    columns = _columns(rows)
    records = rows.to_dict("records")
    shown = pd.DataFrame({name: [cell(row) for row in records] for name, cell in columns.items()})
    return Table(task, model, caption(task, model, _at(frame, task, model), state), rows, shown)


def _at(frame: pd.DataFrame, task: str, model: str) -> pd.DataFrame:
    return frame.query("task == @task and model == @model")


def _columns(rows: pd.DataFrame) -> dict[str, Cell]:
    """Header and cell of every column of a table; what no row can fill by nature is left out."""
    unit, size = _unit(rows["flops_per_example_mean"].dropna().tolist())
    quality = {name: _quality(key, factor) for key, (name, factor) in _present(_QUALITY, rows)}
    keep = {"keep_precision": "Keep prec.", "keep_recall": "Keep recall"}
    return {
        "Method": lambda row: ", ".join(filter(None, (row["method"], row["variant"]))),
        "Budget": lambda row: formatted(row["budget"], "{:g}"),
        "Spent": _mean("flops_ratio", "{:.3f}"),
        **quality,
        "Seeds": _seeds,
        unit: _mean("flops_per_example", "{:.2f}", 1 / size),
        "Speed vs packed": _mean("speed_vs_packed", "{:.2f}×"),
        "Speed vs HF": _mean("speed_vs_hf", "{:.2f}×"),
        "Ex/s": _mean("examples_per_second", "{:.0f}"),
        "Peak MiB": _mean("peak_mib", "{:.0f}"),
        "Memory vs packed": _mean("memory_vs_packed", "{:.2f}×"),
        "Kept": _mean("tokens_kept_last", "{:.3f}"),
        **{name: _mean(key, form) for key, (name, form) in _present(_WRITING, rows)},
        **{header: _mean(key, "{:.3f}") for key, header in _present(keep, rows)},
    }


def _present(columns: dict, rows: pd.DataFrame) -> list[tuple]:
    return [(key, value) for key, value in columns.items() if any(rows[f"{key}_count"])]


def _unit(flops: list[float]) -> tuple[str, float]:
    """The unit that leaves the largest number at 1 or more."""
    largest = max(flops, default=_UNITS[0][1])
    return next((unit for unit in _UNITS if largest >= unit[1]), _UNITS[-1])


def formatted(value: float | str | None, pattern: str) -> str:
    """A value in its format, a gap where there is none."""
    return GAP if bool(pd.isna(value)) else pattern.format(value)


def _mean(metric: str, pattern: str, factor: float = 1) -> Cell:
    """A mean, and of how many runs where it is not of all."""

    def cell(row: Row) -> str:
        text, count = formatted(row[f"{metric}_mean"] * factor, pattern), row[f"{metric}_count"]
        return f"{text} ({count})" if 0 < count < row["runs"] else text

    return cell


def _quality(metric: str, factor: float) -> Cell:
    def cell(row: Row) -> str:
        text = formatted(row[f"{metric}_mean"] * factor, "{:.2f}")
        if row[f"{metric}_count"] > 1:
            return f"{text} ± {row[f'{metric}_std'] * factor:.2f}"
        # The record's standard error belongs to its main metric.
        if text == GAP or metric == "chrf" or pd.isna(row["stderr_mean"]):
            return text
        return f"{text} ± {row['stderr_mean'] * factor:.2f} (SE)"

    return cell


def _seeds(row: Row) -> str:
    total = row["runs"] + row["missing"]
    return str(total) if not row["missing"] else f"{row['runs']} of {total}"
