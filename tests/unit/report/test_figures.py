"""Plots are pictures of the right points."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.figure import Figure

from tsdtp.report import figures
from tsdtp.report.frame import to_frame
from tsdtp.report.render import Report
from tsdtp.report.tables import build_tables

WHOLE = {"tokens_kept": [1.0, 1.0]}
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


def test_the_frontier_has_a_line_for_each_method_from_cheap_to_dear():
    (axes,) = figures.frontier(NUMBERS, "accuracy").axes
    lines = {c.get_label(): c.lines[0] for c in axes.containers}
    assert lines["Top-k"].get_xdata().tolist() == [0.4, 0.6]
    assert lines["Top-k"].get_ydata().tolist() == [0.8, 0.9]
    assert lines["TS-DTP, alone"].get_xdata().tolist() == [0.5]


def test_the_speed_up_stands_against_what_was_saved_with_the_ideal_drawn():
    timed = NUMBERS.assign(speed_vs_packed_mean=[1.5, 2.0, 1.8])
    (axes,) = figures.speed_up(timed, packed=1.0).axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines["Top-k"] == [pytest.approx([1 / 0.6, 1.5]), [2.5, 2.0]]
    (ideal,) = [points for name, points in lines.items() if name.startswith("_")]
    assert ideal == [[1, 1], [2.5, 2.5]]
    (axes,) = figures.speed_up(timed, packed=0.9).axes
    assert axes.lines[0].get_xdata().tolist() == pytest.approx([0.9 / 0.6, 0.9 / 0.4])


def test_only_the_plain_unpruned_packed_model_tells_what_was_saved(make_record):
    pruned = make_record(cost={"flops_ratio": 0.4})
    fewer = make_record("none", budget=None, cost={"flops_ratio": 0.6})
    fewer.provenance["config"] = {"model": {"blocks": 4}}
    unpruned = make_record("none", budget=None, variant="", cost={"flops_ratio": 0.9})
    taught = make_record("none", budget=None, variant="taught", cost={"flops_ratio": 0.8})
    for records, drawn in (([pruned, fewer, taught], False), ([pruned, taught, unpruned], True)):
        frame = to_frame(records)
        (table,) = build_tables(frame)
        assert ("speedup" in figures.draw(table, frame)) is drawn
    xs = [line.get_xdata() for line in figures.draw(table, frame)["speedup"].axes[0].lines]
    assert [pytest.approx(0.9 / 0.4)] in xs


def test_kept_tokens_are_means_over_seeds_of_what_drops_any(make_record):
    records = [
        make_record(seed=s, cost={"tokens_kept": [1.0, kept]}) for s, kept in ((1, 0.2), (2, 0.4))
    ]
    records.append(make_record("none", budget=None, cost=WHOLE))
    frame = to_frame(records)
    (table,) = build_tables(frame)
    (axes,) = figures.draw(table, frame)["kept"].axes
    (line,) = axes.lines
    assert line.get_label() == "ts_dtp 0.5"
    assert line.get_xydata().tolist() == [[1, 1], [2, pytest.approx(0.3)]]


def test_tokens_are_not_drawn_beyond_the_blocks_that_are_computed(make_record):
    record = make_record(cost={"tokens_kept": [0.8, 0.4, 0.4]})
    record.provenance["config"] = {"model": {"blocks": 2}}
    frame = to_frame([record])
    (table,) = build_tables(frame)
    (line,) = figures.draw(table, frame)["kept"].axes[0].lines
    assert line.get_xydata().tolist() == [[1, 0.8], [2, 0.4]]


def test_of_many_lines_those_of_the_commonest_budget_are_drawn(make_record):
    cost = {"tokens_kept": [1.0, 0.5]}
    records = [make_record("dtp", budget=b / 100, cost=cost) for b in range(20, 32)]
    records += [make_record(m, budget=0.25, cost=cost) for m in ("topk", "ts_dtp")]
    frame = to_frame(records)
    (table,) = build_tables(frame)
    (axes,) = figures.draw(table, frame)["kept"].axes
    names = {line.get_label() for line in axes.lines}
    assert names == {"dtp 0.25", "topk 0.25", "ts_dtp 0.25"}


def test_many_lines_without_a_budget_are_all_drawn(make_record):
    cost = {"tokens_kept": [1.0, 0.5]}
    records = [make_record(budget=None, variant=f"v{i}", cost=cost) for i in range(14)]
    frame = to_frame(records)
    (table,) = build_tables(frame)
    assert len(figures.draw(table, frame)["kept"].axes[0].lines) == 14


def test_of_a_benchmark_nothing_is_drawn_that_it_was_told(make_record):
    record = make_record(cost={"tokens_kept": [1.0, 0.5]})
    record.quality.clear()
    frame = to_frame([record])
    (table,) = build_tables(frame)
    assert not figures.draw(table, frame)


def test_each_figure_in_each_kind_and_always_the_same_bytes(tmp_path, make_record):
    frame = to_frame([make_record(), make_record("none", budget=None, model="b/c", cost=WHOLE)])
    report = Report(build_tables(frame), runs=frame)
    paths = figures.save_figures(report, tmp_path)
    names = {path.name for path in paths}
    assert {"frontier_sst2_tiny.png", "seconds_sst2_b_c.svg", "kept_sst2_tiny.pdf"} <= names
    assert "kept_sst2_b_c.png" not in names, "nothing was dropped"
    before = [path.read_bytes() for path in paths]
    assert figures.save_figures(report, tmp_path) == paths
    assert [path.read_bytes() for path in paths] == before


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


def test_bars_are_deviations_over_seeds_or_else_standard_errors():
    (axes,) = figures.frontier(NUMBERS, "accuracy").axes
    bars = [s[1, 1] - s[0, 1] for c in axes.containers for s in c.lines[2][0].get_segments()]
    assert bars == pytest.approx([2 * 0.03, 2 * 0.01, 2 * 0.02])


def test_twice_as_fast_is_half_the_time(make_record):
    frame = to_frame([make_record(speed={"vs_packed": 2.0})])
    (table,) = build_tables(frame)
    (axes,) = figures.draw(table, frame)["seconds"].axes
    assert axes.containers[0].lines[0].get_xdata().tolist() == [0.5]
