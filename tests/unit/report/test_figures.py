"""Plots are pictures of the right points."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from tsdtp.report import figures
from tsdtp.report.render import Report
from tsdtp.report.tables import Table

NUMBERS = pd.DataFrame(
    {
        "method": ["Top-k", "Top-k", "TS-DTP"],
        "flops_ratio_mean": [0.6, 0.4, 0.5],
        "accuracy_mean": [0.9, 0.8, 0.95],
        "accuracy_std": [0.01, None, 0.02],
        "stderr_mean": [0.03, 0.03, None],
        "variant": [None, None, "alone"],
    }
)


def drawn(monkeypatch, draw) -> Figure:
    """The figure that is saved."""
    seen = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda f, *a, **k: (seen.append(f), save(f, *a, **k)))
    draw()
    return seen[0]


def test_the_frontier_has_a_line_for_each_method_from_cheap_to_dear(monkeypatch, tmp_path):
    path = tmp_path / "frontier.png"
    figure = drawn(monkeypatch, lambda: figures.save_frontier(path, NUMBERS, "accuracy"))
    (axes,) = figure.axes
    lines = {c.get_label(): c.lines[0] for c in axes.containers}
    assert lines["Top-k"].get_xdata().tolist() == [0.4, 0.6]
    assert lines["Top-k"].get_ydata().tolist() == [0.8, 0.9]
    assert lines["TS-DTP, alone"].get_xdata().tolist() == [0.5]
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_plot_for_each_table_that_has_something_to_draw(tmp_path):
    numbers = NUMBERS.assign(bleu_mean=None)
    nothing = numbers.assign(accuracy_mean=None)
    tables = [Table("sst2", m, "", n, n) for m, n in (("bert", numbers), ("none", nothing))]
    paths = figures.save_figures(Report(tables), tmp_path)
    assert [path.name for path in paths] == ["frontier_sst2_bert.png"]
    assert list(tmp_path.glob("*.png")) == paths


def test_the_trade_off_shows_every_trial_and_the_front(monkeypatch, tmp_path):
    points, front = [(0.3, 0.7), (0.5, 0.6), (0.6, 0.9)], [(0.3, 0.7), (0.6, 0.9)]
    path = tmp_path / "front.png"
    figure = drawn(
        monkeypatch, lambda: figures.save_trade_off(path, points, front, ("cost", "quality"))
    )
    (axes,) = figure.axes
    assert axes.collections[0].get_offsets().tolist() == [list(p) for p in points]
    assert axes.lines[0].get_xdata().tolist() == [0.3, 0.6]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("cost", "quality")
