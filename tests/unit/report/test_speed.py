"""The table and figures of benchmarks."""

from __future__ import annotations

import pytest

from tsdtp.report.render import load_report
from tsdtp.report.speed import save_speed, speed_frame, to_markdown
from tsdtp.report.speed_figures import draw_over_length, draw_speedup, of_several_lengths
from tsdtp.results import write_record


@pytest.fixture
def benchmark(make_record):
    """(pruning, tokens, ..., **changes of speed) -> a record of `tsdtp bench`."""

    def make(pruning="ts_dtp", tokens=None, ratio=0.5, features=None, fuse=None, **changes):
        options = {"task_feature_dim": features, "fuse": fuse}
        config = {"pruning": {k: v for k, v in options.items() if v}}
        made = make_record(pruning=pruning, provenance={"config": config})
        made.cost["packed_flops_per_example"] = made.cost["flops_per_example"] / ratio
        made.speed.update(
            {
                "dtype": "float32",
                "batch_size": 8,
                "order": "plain",
                "threads": 1,
                "tokens": tokens,
                "latency_ms": 12.0,
                "vs_packed": 1.8,
                "vs_hf": 2.5,
                "spread": {"vs_packed": 0.1, "vs_hf": 0.2},
                "confidence": {"vs_packed": 0.984, "vs_hf": 0.5},
                "roofline": {"reached": 0.4},
                **changes,
            }
        )
        return made

    return make


def test_a_line_for_each_benchmark_and_none_for_a_training(benchmark, make_record):
    records = [benchmark(), make_record(), benchmark("topk", tokens=[8, 120])]
    frame = speed_frame(records)
    assert frame["method"].tolist() == ["TS-DTP", "Top-k"]
    text = to_markdown(records)
    assert "commit aaaaaaaaaa" in text, "where the numbers come from"
    assert "| TS-DTP" in text and "1.80× ± 0.10 (98%)" in text and "2.50× ± 0.20 (50%)" in text
    assert "2.00×" in text and "0.90" in text, "FLOPs saved, and the part that the clock sees"
    assert "8–120" in text and "texts" in text


def test_lengths_are_in_their_order(benchmark):
    frame = speed_frame([benchmark(tokens=n) for n in (128, None, 16, 64, 256)])
    assert frame["tokens"].tolist() == ["16", "64", "128", "256", "texts"]


def test_a_translator_shows_what_the_whole_of_it_does_and_a_classifier_no_empty_columns(benchmark):
    figures = {"num_beams": 4, "new_tokens": 24, "tokens_per_second": 517.2}
    figures |= {"vs_packed": 1.14, "vs_hf": 1.31}
    text = to_markdown([benchmark(generation=figures)])
    assert "24 tokens" in text and "| 517 " in text and "1.14×" in text and "1.31×" in text
    assert "Beams" not in to_markdown([benchmark()])


def test_rows_of_several_machines_say_which(benchmark):
    one, other = benchmark(), benchmark("topk")
    assert "Machine" not in to_markdown([one, other])
    other.provenance["hardware"] = {**other.provenance["hardware"], "gpu": "a GPU"}
    assert "| a GPU" not in to_markdown([one, other]), "it was measured on that machine's CPU"
    other.speed["device"] = "cuda"
    text = to_markdown([one, other])
    assert "| Machine" in text and "| a GPU" in text


def test_rows_of_several_threads_say_which_and_are_lines_of_their_own(benchmark):
    assert "Threads" not in to_markdown([benchmark(), benchmark("topk")])
    records = [benchmark(threads=n, tokens=t) for n in (1, 2) for t in (32, 64)]
    text = to_markdown(records)
    assert "| Threads" in text and "| 2 " in text
    (axes,) = draw_over_length(speed_frame(records), "latency_ms", "ms").axes
    labels = [line.get_label() for line in axes.lines]
    assert labels == [f"TS-DTP, float32, batch 8, {n} threads" for n in (1, 2)]


def test_rows_whose_dropped_tokens_are_fused_say_so(benchmark):
    assert "Fused" not in to_markdown([benchmark(), benchmark("topk")])
    once = benchmark()
    once.provenance["config"]["pruning"]["fuse"] = False  # as older records have it
    assert "Fused" not in to_markdown([once, benchmark("topk")])
    text = to_markdown([benchmark(), benchmark(fuse="similar")])
    assert "| Fused" in text and "| similar" in text
    assert "| –" in text and "nan" not in text and "None" not in text


def test_rows_of_several_sizes_of_task_features_say_which(benchmark):
    assert "Features" not in to_markdown([benchmark(features=64), benchmark("topk")])
    text = to_markdown([benchmark(features=64), benchmark(features=32)])
    assert "| Features" in text and "| 64" in text and "| 32" in text


def test_nothing_is_written_where_nothing_was_benchmarked(make_record, tmp_path):
    assert save_speed([make_record()], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_diagonal_and_every_cell_are_drawn(benchmark):
    rows = speed_frame([benchmark(ratio=0.5), benchmark(ratio=0.25, vs_packed=3.0)])
    (axes,) = draw_speedup(rows).axes
    diagonal = axes.lines[0]
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == [1, pytest.approx(4.2)]
    (points,) = (c.lines[0] for c in axes.containers)
    assert list(points.get_xdata()) == [2, 4]
    assert list(points.get_ydata()) == [1.8, 3.0]


def test_a_legend_of_many_lines_hides_none_of_them(benchmark):
    few, many = (
        draw_speedup(speed_frame([benchmark(batch_size=n) for n in range(1, count)]))
        for count in (3, 16)
    )
    for figure in (few, many):
        figure.draw_without_rendering()
    (axes,), (legend,) = many.axes, many.legends
    assert len(legend.texts) == 16 and not axes.bbox.overlaps(legend.get_window_extent())
    assert axes.bbox.height >= 0.95 * few.axes[0].bbox.height, "the figure grows, the axes stay"
    looks = {(p[0].get_color(), p[0].get_marker()) for p in axes.containers}
    assert len(looks) == 15


def test_figures_over_length_are_there_where_lengths_are(benchmark, tmp_path):
    cells = [benchmark(tokens=n, latency_ms=n / 10) for n in (128, 32, 64)]
    (axes,) = draw_over_length(speed_frame(cells), "latency_ms", "ms").axes
    assert list(axes.lines[0].get_xdata()) == [32, 64, 128]
    assert list(axes.lines[0].get_ydata()) == [3.2, 6.4, 12.8]
    kinds = {path.name.split("_")[0] for path in save_speed(cells, tmp_path)}
    assert kinds == {"speed.md", "speed.csv", "benchmark", "latency", "memory"}
    assert {p.name for p in save_speed([benchmark()], tmp_path / "one")} >= {"speed.md"}
    cells[0].provenance["config"]["keep_schedule"] = [0.5, 0.25]
    found = of_several_lengths(speed_frame(cells))
    assert set(found["length"]) == {32, 64}, "what keeps another share is on no line with them"
    assert not list((tmp_path / "one").glob("latency*"))


def test_budgets_are_lines_of_their_own_over_length_and_told_in_the_table(benchmark):
    records = [benchmark(tokens=tokens, latency_ms=tokens / 8) for tokens in (16, 32) * 2]
    for record, budget in zip(records, (0.4, 0.4, 0.8, 0.8), strict=True):
        record.identity["budget"] = budget
    rows = of_several_lengths(speed_frame(records))
    axes = draw_over_length(rows, "latency_ms", "ms").axes[0]
    assert [line.get_label() for line in axes.lines] == [
        "TS-DTP, float32, batch 8, budget 0.4",
        "TS-DTP, float32, batch 8, budget 0.8",
    ]
    assert [list(line.get_xdata()) for line in axes.lines] == [[16, 32], [16, 32]]
    assert "| 0.4" in to_markdown(records) and "| 0.8" in to_markdown(records)


def test_a_copied_record_is_one_line(benchmark, tmp_path):
    for folder in ("a", "a/copy"):
        write_record(tmp_path / folder, benchmark())
    report = load_report(tmp_path)
    assert "left out" in report.warnings[0] and len(speed_frame(report.records.values())) == 1
