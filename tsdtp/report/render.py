"""Tables as Markdown, LaTeX, CSV and for the terminal."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from tsdtp.atomic import write_atomic
from tsdtp.report.caption import LEGEND
from tsdtp.report.frame import to_frame, unique_runs
from tsdtp.report.settings import differing_seeds
from tsdtp.report.starts import other_starts
from tsdtp.report.sweep import Sweep, finished, mark_missing, read_sweep, without_replaced
from tsdtp.report.tables import Table, build_tables
from tsdtp.report.unlike_rows import unlike_rows
from tsdtp.results import RECORD_NAME, RunRecord, read_records

WIDTH = 120
_LATEX = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
        **{"|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}"},
        **{"±": r"$\pm$", "×": r"$\times$", "–": "--", "·": r"$\cdot$"},
    }
)


@dataclass(frozen=True)
class Report:
    """Tables of one folder, the state of its sweep, what was left out and why, runs and records.

    The rows of `runs` are those of `records`, which are by their paths.
    """

    tables: list[Table]
    heading: str = ""
    warnings: list[str] = field(default_factory=list)
    runs: pd.DataFrame = field(default_factory=pd.DataFrame)
    records: dict[Path, RunRecord] = field(default_factory=dict)


def load_report(folder: str | Path) -> Report:
    """Reads every record under a folder.

    Raises:
        FileNotFoundError: There is no such folder, or no record in it.
        ValueError: ``sweep.json`` or a number of a record is damaged, or no record is readable.
    """
    records, warnings = read_records(folder)
    # A report may be published: it names files from its own folder on.
    warnings = [warning.removeprefix(f"{Path(folder)}{os.sep}") for warning in warnings]
    if not records and warnings:
        raise ValueError(f"{folder}: none of {len(warnings)} records is readable; {warnings[0]}")
    if not records:
        raise FileNotFoundError(f"{folder}: no record (looked for {RECORD_NAME} at any depth)")
    sweep = read_sweep(folder)
    records, replaced = without_replaced(records, sweep)
    frame, repeated = unique_runs(to_frame(records.values()))
    tables = build_tables(frame, sweep and sweep.cells)
    paths = list(records)
    records = {paths[row]: records[paths[row]] for row in frame.index}
    warnings += [*replaced, *repeated, *differing_seeds(records.values()), *unlike_rows(frame)]
    warnings += other_starts(records.values())
    return Report(tables, _heading(sweep, frame), warnings, frame, records)


def _heading(sweep: Sweep | None, frame: pd.DataFrame) -> str:
    if sweep is None:
        return ""
    command = f", `{sweep.command}`" if sweep.command else ""
    return f"Sweep {sweep.name}{command}: {finished(mark_missing(sweep.cells, frame))}."


def to_markdown(report: Report) -> str:
    """All tables as GitHub Markdown, the legend once at the end."""
    parts = [report.heading] if report.heading else []
    for table in report.tables:
        cells = table.cells.map(lambda text: text.replace("|", r"\|"))
        align = ["left"] + ["right"] * (len(cells.columns) - 1)
        # Numbers are text by now: tabulate must not turn 0.50 into 0.5.
        text = cells.to_markdown(index=False, disable_numparse=True, colalign=align)
        parts += [f"## {table.task} · {table.model}", table.caption, text]
    parts += [LEGEND, *(f"- Warning: {warning}" for warning in report.warnings)]
    return "\n\n".join(parts) + "\n"


def escape_latex(text: str) -> str:
    """Text that LaTeX sets as it stands."""
    return str(text).translate(_LATEX)


def to_latex(report: Report) -> str:
    """All tables as LaTeX floats for the ``booktabs`` package."""
    return "\n".join(["% needs the package booktabs", *map(_latex_table, report.tables)])


def _latex_table(table: Table) -> str:
    cells = table.cells.map(escape_latex).rename(columns=escape_latex)
    label = re.sub(r"[^a-z0-9]+", "-", f"{table.task} {table.model}".lower()).strip("-")
    return cells.style.hide(axis="index").to_latex(
        hrules=True,
        column_format="l" + "r" * (len(cells.columns) - 1),
        position_float="centering",
        caption=escape_latex(f"{table.caption} {LEGEND}"),
        label=f"tab:{label}",
    )


def to_csv(report: Report) -> str:
    """The unrounded numbers of all tables, one row for each method, budget and variant."""
    numbers = pd.concat([table.numbers for table in report.tables], ignore_index=True)
    return numbers.to_csv(index=False, lineterminator="\n")


def print_report(report: Report, console: Console | None = None) -> None:
    """Prints all tables, at least 120 columns wide."""
    console = console or Console(highlight=False)
    # A narrower terminal folds the lines; cropping would lose numbers.
    console.width = max(console.width, WIDTH)
    if report.heading:
        console.print(Text(report.heading))
    for table in report.tables:
        console.print(_rich_table(table), "")
    console.print(Text(LEGEND, style="dim"))


def _rich_table(table: Table) -> RichTable:
    # Fixed widths let headers and methods wrap between words and keep every number on one line.
    texts = [[*str(header).split(), *cells] for header, cells in list(table.cells.items())[1:]]
    widths = [max(map(len, column)) for column in texts]
    room = WIDTH - sum(widths)
    gap = 2 if room - 2 * len(widths) >= 20 else 1
    shown = RichTable(
        title=Text(f"{table.task} · {table.model}", style="bold"),
        caption=Text(table.caption),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, gap - 1, 0, 0),
        pad_edge=False,
    )
    method = table.cells["Method"].str.len().max()
    shown.add_column("Method", width=min(method, max(20, room - gap * len(widths))))
    for header, width in zip(table.cells.columns[1:], widths, strict=True):
        shown.add_column(Text(str(header)), justify="right", width=width)
    for row in table.cells.itertuples(index=False):
        shown.add_row(*map(Text, row))
    return shown


def save_report(report: Report, out: str | Path) -> list[Path]:
    """Writes ``tables.md``, ``tables.tex`` and ``tables.csv`` into ``out``, each atomically."""
    texts = {"md": to_markdown(report), "tex": to_latex(report), "csv": to_csv(report)}
    return [write_atomic(Path(out) / f"tables.{kind}", text) for kind, text in texts.items()]
