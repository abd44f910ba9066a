"""Figures of measured speed: against FLOPs saved, and speed and memory against length."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tsdtp.report.figures import blank, style

# What the points of a line share, each with the words for it in the legend.
_SERIES = {
    **{"method": "{}", "dtype": "{}", "batch": "batch {}", "order": "{} order"},
    **{"threads": "{} threads", "features": "{:.0f} features", "fuse": "fused ({})"},
    "machine": "{}",
}
# Those of a line over length share what decides how many tokens go, too.
_OVER_LENGTH = {
    **_SERIES,
    **{"budget": "budget {:g}", "blocks": "{:.0f} blocks"},
    **{"keep": "keeping {}", "layers": "in layers {}"},
}
_ALWAYS = ("method", "dtype", "batch")


def draw_speedup(rows: pd.DataFrame) -> Figure:
    """Measured speed-up over the packed unpruned model against FLOPs saved, and the diagonal."""
    label = "speed-up over packed, unpruned (×; bars: interquartile range)"
    figure, axes = blank(("FLOPs saved (×)", label))
    end = 1.05 * float(rows[["flops", "vs_packed"]].to_numpy().max())
    axes.plot((1.0, end), (1.0, end), color="0.6", linestyle="--", label="all FLOPs saved are time")
    for number, (name, line) in enumerate(_lines(rows, _SERIES)):
        x, y, spread = (line[key].tolist() for key in ("flops", "vs_packed", "spread_vs_packed"))
        looks = {**style(number), "linestyle": ""}
        axes.errorbar(x, y, yerr=[s / 2 for s in spread], label=name, **looks)
    axes.axhline(1, color="0.8", linewidth=0.8)
    _legend(figure, axes)
    return figure


def of_several_lengths(rows: pd.DataFrame) -> pd.DataFrame:
    """Those cells that there are at several lengths, and that differ in nothing else."""
    alike = rows.groupby([*_OVER_LENGTH], dropna=False)
    return alike.filter(lambda cells: cells["length"].nunique() > 1)


def draw_over_length(rows: pd.DataFrame, key: str, label: str) -> Figure:
    """A figure of cells `of_several_lengths` against the tokens of a sequence, both logarithmic."""
    figure, axes = blank(("tokens a sequence", label))
    for number, (name, line) in enumerate(_lines(rows.dropna(subset=["length"]), _OVER_LENGTH)):
        line = line.sort_values("length")
        axes.plot(line["length"].tolist(), line[key].tolist(), label=name, **style(number))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    _legend(figure, axes)
    return figure


def _legend(figure: Figure, axes: Axes) -> None:
    """Below the axes: of as many lines as there may be it would hide the points."""
    lines, names = axes.get_legend_handles_labels()
    figure.set_figheight(figure.get_figheight() + 0.16 * len(names))
    figure.legend(lines, names, loc="outside lower left", fontsize="x-small")


def _lines(rows: pd.DataFrame, series: dict[str, str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows alike in a series, with method, type and batch and whatever else is not everywhere so.

    Args:
        rows: of `speed_frame`.
        series: what the rows of a line share, each with the words for it.
    """
    differ = [key for key in series if len(set(rows[key].astype(str))) > 1]
    for _, line in rows.groupby(list(series), dropna=False):
        first = line.iloc[0].dropna().to_dict()
        told = [k for k in series if k in first and (k in _ALWAYS or k in differ)]
        yield ", ".join(series[key].format(first[key]) for key in told), line
