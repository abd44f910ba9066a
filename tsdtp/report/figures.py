"""Figures for papers and pages, as PNG, SVG or PDF by the name of the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from tsdtp.atomic import write_atomic
from tsdtp.report.frame import cell_name
from tsdtp.report.render import Report
from tsdtp.report.tables import Table

Point = tuple[float, float]
KINDS = ("png", "svg", "pdf")
# Okabe and Ito's colours, which the colour-blind tell apart, then wine, olive and grey of Tol's
# muted ones: as many as a table has methods. Markers tell lines apart in print.
_COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"),
    *("#882255", "#999933", "#888888"),
)
_CROWD = 12  # lines that can be told apart
_MARKERS = "osD^vP*Xh<>"


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
    save(figure, path)


def file_place(task: str, model: str) -> str:
    """Task and model as part of a file's name."""
    return re.sub(r"[^\w.-]", "_", f"{task}_{model}")


def save_figures(report: Report, out: str | Path) -> list[Path]:
    """Writes `NAME_TASK_MODEL.png`, `.svg` and `.pdf` for each figure of each table."""
    paths = []
    for table in report.tables:
        place = file_place(table.task, table.model)
        for name, figure in draw(table, report.runs).items():
            for kind in KINDS:
                paths.append(save(figure, Path(out) / f"{name}_{place}.{kind}"))
    return paths


def save(figure: Figure, path: Path) -> Path:
    """Writes all of it or nothing."""
    return write_atomic(path, drawn(figure, path.suffix[1:], path.stem, dpi=150))


def drawn(figure: Figure, kind: str, name: str, **looks) -> bytes:
    """A picture; the same figure of the same name gives the same bytes, whenever it is drawn."""
    content = BytesIO()
    date = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(content, format=kind, metadata=date, **looks)
    return content.getvalue()


def draw(table: Table, runs: pd.DataFrame) -> dict[str, Figure]:
    """The figures of one table that have something to show, by name.

    `frontier`: quality against FLOPs; `seconds`: quality against measured time; `speedup`: measured
    speed-up against FLOPs saved; `kept`: tokens kept, layer by layer, where a method chose them
    (a benchmark of random tokens is told how many stay).

    Args:
        table: what is drawn.
        runs: of all tables, with their `tokens_kept`.
    """
    rows = table.numbers
    metric = "bleu" if list(rows["bleu_mean"].dropna()) else "accuracy"
    rows = rows.dropna(subset=[f"{metric}_mean"])
    spent = rows.dropna(subset=["flops_ratio_mean"])
    timed = spent.dropna(subset=["speed_vs_packed_mean"])
    figures = {}
    if len(spent):
        figures["frontier"] = frontier(spent, metric)
        if len(runs) and (kept := _kept(table, runs)):
            figures["kept"] = kept_tokens(kept)
    if len(timed):
        timed = timed.assign(seconds_mean=1 / timed["speed_vs_packed_mean"])
        label = "measured time, as a fraction of the unpruned packed model's"
        figures["seconds"] = frontier(timed, metric, "seconds", label)
        if len(runs) and (packed := _packed(table, runs)):
            figures["speedup"] = speed_up(timed, packed)
    return figures


def _packed(table: Table, runs: pd.DataFrame) -> float | None:
    """What the unpruned packed model of a table spends; None where no such run is there to tell."""
    here = runs.query("task == @table.task and model == @table.model and pruning == 'none'")
    spent = here.loc[here["variant"].eq("") & here["blocks"].isna(), "flops_ratio"].dropna()
    return float(spent.mean()) if len(spent) else None


def frontier(
    measured: pd.DataFrame,
    metric: str,
    cost: str = "flops_ratio",
    label: str = "FLOPs spent, as a fraction of the plain encoder's",
) -> Figure:
    """Each method's quality against a cost, with deviation or standard error.

    Args:
        measured: one row for each method and budget, as `Table.numbers` has them.
        metric: name of the quality.
        cost: name of the cost.
        label: of its axis.
    """
    figure, axes = blank((label, metric))
    for number, (name, rows) in enumerate(_methods(measured)):
        line = rows.sort_values(f"{cost}_mean")
        deviation = line[f"{metric}_std"].fillna(line["stderr_mean"]).fillna(0)
        x, y = line[f"{cost}_mean"], line[f"{metric}_mean"]
        axes.errorbar(x, y, yerr=deviation, capsize=2, label=name, **style(number))
    explain(figure, axes)
    return figure


def speed_up(timed: pd.DataFrame, packed: float) -> Figure:
    """Measured speed-up over the unpruned packed model against the FLOPs saved; ideal: diagonal.

    Args:
        timed: one row for each method and budget.
        packed: what that model spends, as a fraction of the plain encoder's FLOPs.
    """
    figure, axes = blank(("FLOPs saved (unpruned packed ÷ spent)", "measured speed-up"))
    for number, (name, rows) in enumerate(_methods(timed)):
        x, y = packed / rows["flops_ratio_mean"], rows["speed_vs_packed_mean"]
        axes.plot(x, y, label=name, **{**style(number), "linestyle": ""})
    most = max(1.2, *(packed / timed["flops_ratio_mean"]), *timed["speed_vs_packed_mean"])
    axes.plot([1, most], [1, most], color="0.6", linewidth=1)
    explain(figure, axes)
    return figure


def kept_tokens(kept: dict[str, list[float]]) -> Figure:
    """Fraction of the tokens left after each layer's dropping, by method and budget."""
    figure, axes = blank(("layer", "tokens kept, as a fraction"))
    for number, (name, fractions) in enumerate(kept.items()):
        axes.plot(range(1, len(fractions) + 1), fractions, label=name, **style(number))
    axes.set_ylim(0, 1.05)
    explain(figure, axes)
    return figure


def explain(figure: Figure, axes: Axes) -> None:
    """The legend: within the axes, or beside them where it would hide what it explains."""
    if len(axes.get_legend_handles_labels()[1]) <= 8:
        axes.legend(fontsize="x-small")
        return
    figure.set_figwidth(7)
    figure.legend(loc="outside right upper", fontsize="x-small")


def blank(labels: tuple[str, str]) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes and its labels, x first."""
    figure = Figure(figsize=(5, 3.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set(xlabel=labels[0], ylabel=labels[1])
    return figure, axes


def _methods(rows: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    variant = rows["variant"].map(lambda n: f", {n}" if isinstance(n, str) and n else "")
    return ((str(k), v) for k, v in rows.groupby(rows["method"] + variant, sort=False))


def _kept(table: Table, runs: pd.DataFrame) -> dict[str, list[float]]:
    """Mean over seeds, in the blocks computed, of what drops any; of many lines one budget's."""
    here = runs.query("task == @table.task and model == @table.model")
    runs = here.loc[
        here["tokens_kept"].map(lambda kept: isinstance(kept, list) and any(k < 1 for k in kept))
    ]
    lines = runs.groupby(["pruning", "budget", "variant"], dropna=False).ngroups
    methods = runs.groupby("budget")["pruning"].nunique()
    if lines > _CROWD and len(methods):
        runs = runs.loc[runs["budget"] == methods.idxmax()]
    records = runs.to_dict("records")
    kept = pd.Series([_computed(run) for run in records], dtype=object)
    grouped = kept.groupby([cell_name(run) for run in records], sort=False)
    return {str(k): pd.DataFrame(rows.tolist()).mean().tolist() for k, rows in grouped}


def _computed(run: dict) -> list[float]:
    blocks = run["blocks"]
    return run["tokens_kept"][: None if pd.isna(blocks) else int(blocks)]


def style(number: int) -> dict:
    """Colour, marker and line of one of many lines."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKERS[number % len(_MARKERS)],
        "linestyle": ("-", "--", ":")[number // len(_COLOURS) % 3],
        "markersize": 5,
    }
