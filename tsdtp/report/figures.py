"""Figures for papers and pages, as PNG, SVG or PDF by the name of the file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.scatter(*zip(*points, strict=True), color="0.6", label="trials")
    axes.step(*zip(*front, strict=True), where="post", marker="o", label="front")
    axes.set(xlabel=labels[0], ylabel=labels[1])
    axes.legend()
    figure.savefig(path, dpi=150)
