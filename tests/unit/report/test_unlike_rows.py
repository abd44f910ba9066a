"""What is said of rows of other seeds and machines, and what is not averaged."""

from __future__ import annotations

from tsdtp.report.frame import to_frame
from tsdtp.report.render import load_report
from tsdtp.report.tables import build_tables
from tsdtp.report.unlike_rows import unlike_rows
from tsdtp.results import write_record

OTHER = {"hardware": {"cpu": "Other CPU", "gpu": "Some GPU"}}


def test_rows_of_other_seeds_are_named(make_record):
    records = [make_record(name, seed=s) for name in ("ts_dtp", "dtp", "topk") for s in (1, 2)]
    assert not [*unlike_rows(to_frame(records))]
    (said,) = unlike_rows(to_frame([*records[:-1], make_record("none", budget=None, seed=3)]))
    assert said == (
        "sst2 with tiny: rows are means of different seeds (topk 0.5: 1; none: 3; all others: 1, 2)"
    )


def test_rows_timed_on_other_machines_are_named(make_record):
    records = [make_record("dtp"), make_record("topk", provenance=OTHER)]
    (said,) = unlike_rows(to_frame(records))
    assert said.startswith("sst2 with tiny: rows were timed on different machines (")
    assert "Other CPU" in said and "Some GPU" not in said
    kept = {"kept": {"sections": ["speed"], "commit": "b", "dirty": False, **OTHER}}
    records[0] = make_record("dtp", provenance={"measured": {**records[0].provenance, **kept}})
    assert not [*unlike_rows(to_frame(records))], "the speed was kept from there"
    untimed = make_record("topk", provenance=OTHER, speed=None)
    assert not [*unlike_rows(to_frame([make_record("dtp"), untimed]))]
    benchmarks = [
        make_record("dtp", quality={"accuracy": None}),
        make_record("topk", provenance=OTHER, quality={"accuracy": None}),
    ]
    assert not [*unlike_rows(to_frame(benchmarks))], "their table has a column for it"


def cells(records) -> dict:
    (table,) = build_tables(to_frame(records))
    (row,) = table.cells.to_dict("records")
    return row


def test_speeds_of_several_machines_or_ways_have_no_mean(make_record):
    for other in ({"threads": 7}, {"batch_size": 1}, {"order": "sorted"}, {"dtype": "bfloat16"}):
        records = [make_record(seed=1), make_record(seed=2, speed=other)]
        assert cells(records)["Speed vs packed"] == "–"
        (said,) = unlike_rows(to_frame([make_record("dtp"), make_record("topk", speed=other)]))
        assert "rows were timed in different ways (" in said
    row = cells([make_record(seed=1), make_record(seed=2, provenance=OTHER)])
    assert row["Speed vs packed"] == row["Speed vs HF"] == row["Ex/s"] == "–"
    assert row["Accuracy (%)"] == "90.00 ± 0.00" and row["Peak MiB"] == "300"
    row = cells([make_record(seed=1), make_record(seed=2)])
    assert row["Speed vs packed"] == "1.50×"


def test_a_mean_of_some_of_the_seeds_says_of_how_many(make_record):
    records = [make_record(seed=1), make_record(seed=2), make_record(seed=3, speed=None)]
    row = cells(records)
    assert row["Speed vs packed"] == "1.50× (2)" and row["Seeds"] == "3"
    assert row["Spent"] == "0.500" and row["Peak MiB"] == "300"


def test_a_report_holds_the_records_that_it_shows(tmp_path, make_record):
    for name, day in (("old", 1), ("new", 2)):
        when = {"date": f"2025-01-0{day}T00:00:00"}
        write_record(tmp_path / name, make_record(provenance=when))
    report = load_report(tmp_path)
    assert [r.provenance["date"] for r in report.records.values()] == ["2025-01-02T00:00:00"]
    assert any("left out" in warning for warning in report.warnings)
