"""Figures for papers and pages, as PNG, SVG or PDF by the name of the file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tsdtp.report.render import Report

Point = tuple[float, float]


def save_trade_off(
    path: Path, points: Sequence[Point], front: Sequence[Point], labels: tuple[str, str]
) -> None:
    """Draws quality (upwards) against cost (to the right) and the front that nothing beats.

    Args:
        path: of the picture.
        points: cost and quality of every run.
        front: those of the front, cheapest first.
        labels: of cost and quality.
    """
    figure, axes = blank(labels)
    axes.scatter(*zip(*points, strict=True), color="0.6", label="trials")
    axes.step(*zip(*front, strict=True), where="post", marker="o", label="front")
    axes.legend()
    figure.savefig(path, dpi=150)


def save_figures(report: Report, out: str | Path) -> list[Path]:
    """Writes `frontier_TASK_MODEL.png` for each table that has something to draw."""
    paths = []
    for table in report.tables:
        place = re.sub(r"[^\w.-]", "_", f"{table.task}_{table.model}")
        path = Path(out) / f"frontier_{place}.png"
        metric = "bleu" if list(table.numbers["bleu_mean"].dropna()) else "accuracy"
        measured = table.numbers.dropna(subset=[f"{metric}_mean", "flops_ratio_mean"])
        if len(measured):
            save_frontier(path, measured, metric)
            paths.append(path)
    return paths


def save_frontier(path: Path, measured: pd.DataFrame, metric: str) -> None:
    """Draws each method's quality against the FLOPs it spent, with deviation or standard error.

    Args:
        path: of the picture.
        measured: one row for each method and budget, as `Table.numbers` has them.
        metric: name of the quality.
    """
    figure, axes = blank(("FLOPs spent, as a fraction of the unpruned model's", metric))
    variant = measured["variant"].map(lambda name: f", {name}" if isinstance(name, str) else "")
    for name, rows in measured.groupby(measured["method"] + variant, sort=False):
        line = rows.sort_values("flops_ratio_mean")
        deviation = line[f"{metric}_std"].fillna(line["stderr_mean"]).fillna(0)
        axes.errorbar(
            line["flops_ratio_mean"],
            line[f"{metric}_mean"],
            yerr=deviation,
            marker="o",
            capsize=2,
            label=str(name),
        )
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)


def blank(labels: tuple[str, str]) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes and its labels, x first."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(xlabel=labels[0], ylabel=labels[1])
    return figure, axes
