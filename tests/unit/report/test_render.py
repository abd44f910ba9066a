"""Markdown, LaTeX, CSV and terminal say the same, and the command reports its errors."""

import io
import re

import pandas as pd
import pytest
from rich.console import Console

from tsdtp.cli.report import main
from tsdtp.report.frame import aggregate, to_frame
from tsdtp.report.render import escape_latex, load_report, print_report, save_report
from tsdtp.results import write_record


@pytest.fixture
def folder(tmp_path, make_record):
    records = [
        make_record("my_method", seed=s, quality={"accuracy": 0.9 + s / 300}) for s in (1, 2)
    ]
    records += [make_record("none", budget=None), make_record(task="mn|li", model="a_b%")]
    keep = {"keep_precision": 0.8, "keep_recall": 0.9}
    records += [make_record(name, task="synthetic", quality=keep) for name in ("none", "topk")]
    for number, record in enumerate(records):
        write_record(tmp_path / "runs" / f"run{number}", record)
    return tmp_path / "runs"


def _numbers(folder):
    return pd.read_csv(folder / "tables.csv", float_precision="round_trip")


def test_files_are_written_where_asked(folder, tmp_path):
    names = ["tables.md", "tables.tex", "tables.csv"]
    assert save_report(load_report(folder), folder) == [folder / name for name in names]
    assert save_report(load_report(folder), tmp_path / "out") == [
        tmp_path / "out" / name for name in names
    ]
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_markdown(folder):
    save_report(load_report(folder), folder)
    text = (folder / "tables.md").read_text(encoding="utf-8")
    assert text.count("\n## ") + text.startswith("## ") == 3
    assert re.search(r"\| my_method +\| +0\.5 \| +0\.500 \| +90\.50 ± 0\.24 \| +2 \|", text)
    assert re.search(r"\| Fine-Tuned Model .*\| +0\.50× \| +1\.00× \| +50 \|", text)


def test_latex_is_escaped_booktabs(folder):
    save_report(load_report(folder), folder)
    text = (folder / "tables.tex").read_text(encoding="utf-8")
    for rule in ("toprule", "midrule", "bottomrule", "begin{tabular}", "end{table}"):
        assert text.count(f"\\{rule}") == 3
    assert r"my\_method & 0.5" in text
    assert r"Accuracy (\%)" in text
    assert r"1.50$\times$" in text
    assert r"90.50 $\pm$ 0.24" in text
    assert not re.search(r"(?<!\\)_", text)
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert not re.search(r"(?<!\\)%", body)
    assert text.isascii()


def test_latex_escapes_every_special_character():
    assert escape_latex(r"\&%$#_{}~^") == (
        r"\textbackslash{}\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}"
    )


def test_csv_holds_the_aggregate_unrounded(folder, make_record):
    save_report(load_report(folder), folder)
    records = [
        make_record("my_method", seed=s, quality={"accuracy": 0.9 + s / 300}) for s in (1, 2)
    ]
    (expected,) = aggregate(to_frame(records)).to_dict("records")
    numbers = _numbers(folder)
    (row,) = numbers[numbers["pruning"] == "my_method"].to_dict("records")
    for name, value in expected.items():
        empty = pd.isna(value) or value == ""
        assert pd.isna(row[name]) if empty else row[name] == value, name


def test_terminal_keeps_every_number_at_120_columns(folder):
    out = io.StringIO()
    report = load_report(folder)
    print_report(report, Console(file=out, highlight=False))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 120
    assert "…" not in out.getvalue()
    for table in report.tables:
        for row in table.cells.itertuples(index=False):
            assert any(all(cell in line for cell in row[1:]) for line in lines)


def test_damaged_records_are_warnings(folder, capsys):
    (folder / "run0" / "metrics.json").write_text("{")
    assert main([str(folder), "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("warning: run0/metrics.json: not a readable record")
    assert "Warning: run0/metrics.json" in (folder / "tables.md").read_text(encoding="utf-8")


def test_command_prints_and_writes(folder, tmp_path, capsys):
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 0
    assert "my_method" in capsys.readouterr().out
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert [name for name in written if name.startswith(("tables", "report"))] == [
        *("report.html", "tables.csv", "tables.md", "tables.tex")
    ]
    assert "frontier_mn_li_a_b_.png" in written, "names hold no odd characters"
    assert not list(folder.glob("tables.*"))


def test_tables_that_cannot_be_printed_are_one_line(folder, tmp_path, capsys, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tsdtp.cli.report.print_report", full)
    assert main([str(folder), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.endswith("tsdtp report: [Errno 28] No space left on device\n")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere", "no such folder (looked for metrics.json files in it)"),
        ("empty", "no record (looked for metrics.json at any depth)"),
        ("damaged", "none of 1 records is readable; metrics.json: not a readable record"),
    ],
)
def test_nothing_to_report_is_one_line_and_exit_code_2(tmp_path, capsys, name, message):
    for made in ("empty", "damaged"):
        (tmp_path / made).mkdir()
    (tmp_path / "damaged" / "metrics.json").write_text("{")
    assert main([str(tmp_path / name)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"tsdtp report: {tmp_path / name}: {message}")
    assert err.count("\n") == 1
