"""Figures of measured speed: against FLOPs saved, and speed and memory against length."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from tsdtp.report.figures import blank

_SERIES = ["method", "dtype", "batch"]


def draw_speedup(rows: pd.DataFrame) -> Figure:
    """Measured speed-up over the packed unpruned model against FLOPs saved, and the diagonal."""
    figure, axes = blank(("FLOPs saved (×)", "speed-up over packed, unpruned (×)"))
    end = 1.05 * float(rows[["flops", "vs_packed"]].to_numpy().max())
    axes.plot((1.0, end), (1.0, end), color="0.6", linestyle="--", label="all FLOPs saved are time")
    for _, line in rows.groupby(_SERIES):
        x, y, spread = (line[key].tolist() for key in ("flops", "vs_packed", "spread_vs_packed"))
        axes.errorbar(x, y, yerr=[s / 2 for s in spread], fmt="o", label=_name(line))
    axes.axhline(1, color="0.8", linewidth=0.8)
    axes.legend(fontsize="x-small")
    return figure


def draw_over_length(rows: pd.DataFrame, key: str, label: str) -> Figure:
    """A measured figure against the tokens of a sequence, both axes logarithmic."""
    figure, axes = blank(("tokens a sequence", label))
    for _, line in rows.dropna(subset=["length"]).groupby(_SERIES):
        line = line.sort_values("length")
        axes.plot(line["length"].tolist(), line[key].tolist(), marker="o", label=_name(line))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.legend(fontsize="x-small")
    return figure


def _name(line: pd.DataFrame) -> str:
    method, dtype, batch = line[_SERIES].iloc[0]
    return f"{method}, {dtype}, batch {batch}"
