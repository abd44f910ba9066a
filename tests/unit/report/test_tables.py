"""Rows, order, gaps and captions of the tables."""

import json

import pandas as pd
import pytest

from tsdtp.report.frame import to_frame
from tsdtp.report.sweep import read_sweep
from tsdtp.report.tables import GAP, build_tables


def _table(records, cells=None):
    (table,) = build_tables(to_frame(records), cells)
    return table


def _rows(table):
    return table.cells.set_index(["Method", "Budget"])


def _sweep(tmp_path, cells):
    names = ("task", "model", "pruning", "budget", "seed")
    cells = [dict(zip(names, ("sst2", "tiny", *cell), strict=True)) for cell in cells]
    (tmp_path / "sweep.json").write_text(json.dumps({"name": "s", "command": "c", "cells": cells}))
    return read_sweep(tmp_path).cells


def test_rows_are_in_the_order_of_the_paper(make_record):
    methods = ["zeta", "topk", "random", "ts_dtp_notebook", "ts_dtp", "dtp", "alpha"]
    records = [make_record(name) for name in methods] + [make_record("none", budget=None)]
    records += [make_record("ts_dtp", budget=b) for b in (0.3, 0.7)]
    cells = _table(records).cells
    assert cells[["Method", "Budget"]].to_numpy().tolist() == [
        ["Fine-Tuned Model (plain Hugging Face forward)", GAP],
        ["No Pruning (packed)", GAP],
        ["General DTP", "0.5"],
        ["TS-DTP", "0.7"],
        ["TS-DTP", "0.5"],
        ["TS-DTP", "0.3"],
        ["TS-DTP as in the notebook", "0.5"],
        ["Random", "0.5"],
        ["Top-k", "0.5"],
        ["alpha", "0.5"],
        ["zeta", "0.5"],
    ]


def test_what_was_not_packed_says_so_and_spends_what_nobody_counted(make_record):
    ways = [("none", None, "hf"), ("topk", 0.5, "masked")]
    rows = _table([make_record(n, budget=b, identity={"execution": way}) for n, b, way in ways])
    assert rows.cells["Method"].tolist() == ["No Pruning (hf)", "Top-k (masked)"]
    assert rows.cells["Spent"].tolist() == [GAP, GAP], "and no plain forward is derived of it"


def test_cells_of_a_row(make_record):
    row = _table([make_record(seed=s, quality={"accuracy": 0.9 + s / 100}) for s in (1, 2, 3)])
    assert row.cells.iloc[0].to_dict() == {
        "Method": "TS-DTP",
        "Budget": "0.5",
        "Spent": "0.500",
        "Accuracy (%)": "92.00 ± 1.00",
        "Seeds": "3",
        "GFLOPs": "2.00",
        "Speed vs packed": "1.50×",
        "Speed vs HF": "2.00×",
        "Ex/s": "100",
        "Peak MiB": "300",
        "Memory vs packed": "0.75×",
        "Kept": "0.250",
    }


def test_single_seed_is_marked(make_record):
    table = _table([make_record(quality={"accuracy": 0.9, "n": 900})])
    assert table.cells["Accuracy (%)"].tolist() == ["90.00 ± 1.00 (SE)"]


def test_translation_shows_its_own_metrics(make_record):
    quality = {"accuracy": None, "bleu": 27.3, "chrf": 55.0, "stderr": 0.4, "signature": "a|b"}
    table = _table([make_record(quality=quality)])
    assert table.cells["BLEU"].tolist() == ["27.30 ± 0.40 (SE)"]
    assert table.cells["chrF"].tolist() == ["55.00"]
    assert "Accuracy (%)" not in table.cells
    assert "n = 872, a|b;" in table.caption


def test_translation_shows_what_writing_costs(make_record):
    quality = {"accuracy": None, "bleu": 27.3}
    writing = {"vs_packed": 1.25, "vs_hf": 1.5, "tokens_per_second": 300.0}
    none = {"vs_packed": 1.0, "vs_hf": 1.2, "tokens_per_second": 240.0}
    table = _table(
        [
            make_record(
                quality=quality,
                speed={"generation": writing},
                cost={"translation_flops_ratio": 0.8},
            ),
            make_record("none", budget=None, quality=quality, speed={"generation": none}),
        ]
    )
    names = ["Whole", "Writing vs packed", "Writing vs HF"]
    shown = table.cells.set_index("Method")[names].T.to_dict("list")
    assert shown["TS-DTP"] == ["0.800", "1.25×", "1.50×"]
    plain = next(row for name, row in shown.items() if name.startswith("Fine-Tuned"))
    assert plain == [GAP, "0.83×", "1.00×"]
    numbers = table.numbers.set_index("pruning")["tokens_per_second_mean"]
    assert numbers[["ts_dtp", "fine_tuned"]].tolist() == [300, 200]
    assert "the decoder, which stays whole, dominates" in table.caption
    assert "decoder" not in _table([make_record()]).caption


def test_small_models_count_in_megaflops(make_record):
    table = _table([make_record(cost={"flops_per_example": 3.5e6})])
    assert table.cells["MFLOPs"].tolist() == ["3.50"]


def test_keep_columns_only_where_recorded(make_record):
    assert "Keep prec." not in _table([make_record()]).cells
    keep = {"keep_precision": 0.8, "keep_recall": 0.9}
    cells = _table([make_record(quality=keep), make_record("random")]).cells
    assert cells["Keep prec."].tolist() == ["0.800", GAP]
    assert cells["Keep recall"].tolist() == ["0.900", GAP]


def test_values_not_measured_are_gaps(make_record):
    cells = _table([make_record(speed=None, memory=None, cost={"tokens_kept": []})]).cells
    names = ["Speed vs packed", "Speed vs HF", "Ex/s", "Peak MiB", "Memory vs packed", "Kept"]
    assert cells.loc[0, names].tolist() == [GAP] * 6


def test_half_finished_sweep_shows_its_gaps(make_record, tmp_path):
    grid = [("ts_dtp", 0.3, s) for s in (1, 2, 3)] + [("dtp", 0.5, 1), ("none", None, 1)]
    records = [make_record(budget=0.1 + 0.2, seed=s) for s in (1, 3)] + [
        make_record("none", budget=None)
    ]
    table = _table(records, _sweep(tmp_path, grid))
    rows = _rows(table)
    assert rows.loc[("TS-DTP", "0.3"), "Seeds"] == "2 of 3"
    assert rows.loc[("General DTP", "0.5")].tolist() == [GAP, GAP, "0 of 1", *[GAP] * 7]
    assert rows.loc[("No Pruning (packed)", GAP), "Seeds"] == "1"
    assert table.caption.endswith("; 3 of 5 runs finished.")


def test_a_variant_is_a_row_of_its_own_and_counted_as_such(make_record, tmp_path):
    cells = _sweep(tmp_path, [("ts_dtp", 0.5, 1)])
    both = pd.concat([cells, cells.assign(variant="gamma_1"), cells.assign(variant="gamma_16")])
    table = _table([make_record(), make_record(variant="gamma_1")], both)
    assert table.cells[["Method", "Seeds"]].to_numpy().tolist() == [
        ["TS-DTP", "1"],
        ["TS-DTP, gamma_1", "1"],
        ["TS-DTP, gamma_16", "0 of 1"],
    ]
    assert "2 of 3 runs finished" in table.caption


def test_missing_unpruned_cell_is_a_gap_in_both_its_rows(make_record, tmp_path):
    rows = _rows(_table([make_record()], _sweep(tmp_path, [("none", None, 1)])))
    assert rows.iloc[0]["Seeds"] == rows.iloc[1]["Seeds"] == "0 of 1"
    assert rows.iloc[2]["Seeds"] == "1"


def test_fewer_blocks_unpruned_are_no_plain_model_in_a_sweep_either(make_record, tmp_path):
    record = make_record("none", budget=None)
    record.provenance["config"] = {"model": {"blocks": 5}}
    rows = _rows(_table([record], _sweep(tmp_path, [("none", None, 1)])))
    assert [name for name, _ in rows.index] == ["No Pruning (packed)"]


def test_run_outside_the_grid_is_not_counted_as_finished(make_record, tmp_path):
    table = _table(
        [make_record(seed=7), make_record(seed=1)], _sweep(tmp_path, [("ts_dtp", 0.5, 1)])
    )
    assert table.cells["Seeds"].tolist() == ["2"]
    assert "1 of 1 runs finished" in table.caption


def test_table_without_any_run(tmp_path):
    table = _table([], _sweep(tmp_path, [("dtp", 0.5, 1)]))
    assert table.caption == "sst2 with tiny; 0 of 1 runs finished."
    assert table.cells["Seeds"].tolist() == ["0 of 1"]


def test_a_table_for_each_task_and_model(make_record):
    places = [("sst2", "tiny"), ("sst2", "base"), ("mnli", "tiny")]
    tables = build_tables(to_frame([make_record(task=t, model=m) for t, m in places]))
    assert [(table.task, table.model) for table in tables] == sorted(places)


def test_caption_reads_everything_from_the_records(make_record):
    caption = _table([make_record(seed=1), make_record(seed=2)]).caption
    assert caption == (
        "sst2 with tiny; validation, n = 872; seeds 1, 2; cpu Some CPU; execution packed; device "
        "cpu, dtype float32, batch size 32, threads 2; commit aaaaaaaaaa; 2025-03-01 to 2025-03-02."
    )


def test_caption_names_what_is_mixed(make_record):
    other = make_record(
        seed=2,
        provenance={"commit": "b" * 40, "dirty": True, "hardware": {"cpu": "Other"}},
        speed={"batch_size": 64},
        quality={"n": 100},
    )
    caption = _table([make_record(), other]).caption
    assert "mixed commits aaaaaaaaaa, bbbbbbbbbb with uncommitted changes" in caption
    assert "cpu Other, cpu Some CPU (mixed)" in caption
    assert "batch size 32, 64 (mixed)" in caption
    assert "n = 100, 872 (mixed)" in caption


def test_unknown_provenance_leaves_no_trace_but_unknown(make_record):
    blank = {"commit": None, "dirty": None, "hardware": None, "date": None}
    caption = _table([make_record(provenance=blank), make_record(seed=2)]).caption
    assert "mixed commits aaaaaaaaaa, unknown; 2025-03-02." in caption
    caption = _table([make_record(provenance=blank, speed=None)]).caption
    assert caption.endswith("seed 1; execution packed; speed not measured; commit unknown.")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a readable sweep"),
        ("[]", "expected an object with a list 'cells'"),
        ('{"cells": [{"task": "a"}]}', "cell 0 lacks model, pruning, budget, seed"),
    ],
)
def test_damaged_sweep_is_named(tmp_path, text, message):
    (tmp_path / "sweep.json").write_text(text)
    with pytest.raises(ValueError, match=f"sweep.json: {message}"):
        read_sweep(tmp_path)


def test_no_sweep(tmp_path):
    assert read_sweep(tmp_path) is None
