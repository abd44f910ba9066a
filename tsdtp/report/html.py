"""One self-contained page of a folder's results: tables, figures, examples, provenance."""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from tsdtp.atomic import write_atomic
from tsdtp.report.adaptivity import FRACTIONS, RANKS, adaptivity
from tsdtp.report.answers import Run, read_examples
from tsdtp.report.caption import LEGEND
from tsdtp.report.figures import draw, drawn
from tsdtp.report.frame import FINE_TUNED, KEYS, cell_name
from tsdtp.report.render import Report
from tsdtp.report.tables import Table
from tsdtp.results import finite

PAGE = "report.html"
_FIGURES = {
    "frontier": "Quality against FLOPs, with deviation over seeds or the standard error",
    "seconds": "Quality against measured time",
    "speedup": "Measured speed-up against FLOPs saved; the line is where every FLOP saved is time",
    "kept": "Tokens kept, layer by layer",
}
_PROVENANCE = (
    *("run_id", "seed", "command", "commit", "dirty", "hardware", "date"),
    *("trained_by", "kept_by", "config_hash"),
)


def save_page(
    report: Report,
    folder: str | Path,
    out: str | Path,
    runs: Sequence[Run],
    pairs: pd.DataFrame,
    references: Collection[str],
) -> Path:
    """Writes `report.html`; it loads nothing from anywhere.

    Args:
        report: of the folder.
        folder: of the runs, whose examples lie beside their records.
        out: folder of the page.
        runs: with their answers, of the records that the tables show.
        pairs: what `compare` says of them.
        references: the methods that others are compared with there.
    """
    environment = Environment(
        loader=PackageLoader("tsdtp.report", "page"), autoescape=True, undefined=StrictUndefined
    )
    text = environment.get_template("page.html").render(
        title=Path(folder).resolve().name,
        heading=report.heading,
        warnings=report.warnings,
        legend=LEGEND,
        sections=[_section(table, report.runs) for table in report.tables],
        reference=" and ".join(references),
        pairs=_pairs(pairs),
        adaptivity=_kept(adaptivity(runs)),
        examples=finite([_shown(found) for found in read_examples(report.records)]),
    )
    return write_atomic(Path(out) / PAGE, text)


def _section(table: Table, runs: pd.DataFrame) -> dict[str, Any]:
    """What the page says of one task and model."""
    figures = draw(table, runs)
    shown = table.cells.to_dict("split")
    rows = zip(shown["data"], table.numbers.to_dict("records"), strict=True)
    return {
        "title": f"{table.task} · {table.model}",
        "caption": table.caption,
        "columns": shown["columns"],
        "rows": [{"cells": cells, "runs": _runs(numbers, runs)} for cells, numbers in rows],
        "figures": [(_image(figures[k]), text) for k, text in _FIGURES.items() if k in figures],
    }


def _runs(row: Mapping, runs: pd.DataFrame) -> list[dict[str, str]]:
    """Where the numbers of one row come from, run by run."""
    keys = {key: row[key] for key in KEYS}
    if keys["pruning"] == FINE_TUNED:  # read off the unpruned runs
        keys["pruning"] = "none"
    chosen = runs
    for key, value in keys.items():
        same = chosen[key].isna() if pd.isna(value) else chosen[key].eq(value)
        chosen = chosen.loc[same]
    records = chosen.to_dict("records")
    return [{k: str(run[k]) for k in _PROVENANCE if not pd.isna(run[k])} for run in records]


def _image(figure: Figure) -> str:
    """The figure as an address that holds it."""
    picture = base64.b64encode(drawn(figure, "svg", "page", transparent=True))
    return f"data:image/svg+xml;base64,{picture.decode()}"


def _pairs(table: pd.DataFrame) -> list[list[str]]:
    """Differences as they are shown: accuracy in points, as BLEU is."""
    points = np.where(table["metric"].eq("accuracy"), 100, 1)
    names = ["difference", "low", "high", "seed_sd"]
    shown = table.assign(**{name: points * table[name] for name in names})
    return [
        [
            f"{row['task']} · {row['model']}",
            f"{row['first']} − {row['second']}",
            f"{row['difference']:+.2f}",
            f"{row['low']:+.2f} to {row['high']:+.2f}",
            *(_p(row[name]) for name in ("p", "holm")),
            f"{row['seeds']}",
            "–" if pd.isna(row["seed_sd"]) else f"{row['seed_sd']:.2f}",
            _p(row["seed_p"]),
            f"{row['n']}",
        ]
        for row in shown.to_dict("records")
    ]


def _p(value: float) -> str:
    if pd.isna(value):
        return "–"
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _kept(table: pd.DataFrame) -> list[list[str]]:
    """Adaptivity as it is shown, in percent of the tokens."""
    return [
        [
            f"{row['task']} · {row['model']}",
            row["method"],
            *(f"{100 * row[name]:.1f}" for name in FRACTIONS),
            *("–" if pd.isna(row[name]) else f"{row[name]:+.2f}" for name in RANKS),
            f"{row['n']}",
        ]
        for row in table.to_dict("records")
    ]


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    identity = found["run"].identity
    return {
        "task": f"{identity['task']} · {identity['model']}",
        "method": f"{cell_name(identity)} seed {identity['seed']}",
        **{key: found[key] for key in ("labels", "layers", "examples")},
    }
