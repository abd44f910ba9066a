"""A row that started from another unpruned run than its table's is named."""

from __future__ import annotations

from tsdtp.report.starts import other_starts


def start(seed: int, date: str) -> dict:
    return {"start": {"run_id": f"sst2-none-None-{seed}", "config_hash": "a", "date": date}}


def test_a_row_whose_start_has_run_again_since_is_named(make_record):
    dates = {1: "2026-01-01", 2: "2026-01-02"}
    unpruned = [
        make_record("none", budget=None, seed=s, provenance={"date": d}) for s, d in dates.items()
    ]
    rows = [
        make_record(m, seed=s, provenance=start(s, dates[s]))
        for m in ("dtp", "topk")
        for s in dates
    ]
    unknown = make_record("ltp", provenance={"start": {"run_id": "gone", "date": "2025-01-01"}})
    by_weights = make_record("tome", provenance={"start": {"model.safetensors": "0" * 12}})
    assert not [*other_starts([*unpruned, *rows, unknown, by_weights])]
    rows[1] = make_record("dtp", seed=2, provenance=start(2, "2025-12-31"))
    (said,) = other_starts([*unpruned, *rows])
    assert said == (
        "sst2 with tiny: rows started from other runs of the unpruned model than those in this "
        "table (seeds of dtp 0.5: 2)"
    )


def test_an_unpruned_run_that_was_measured_again_is_the_same_start(make_record):
    again = {"date": "2026-01-01", "measured": {"date": "2026-02-02"}}
    unpruned = make_record("none", budget=None, seed=1, provenance=again)
    row = make_record("dtp", seed=1, provenance=start(1, "2026-01-01"))
    assert not [*other_starts([unpruned, row])]
