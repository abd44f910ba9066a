"""Held-out rows and those of the records, apart and together: known answers."""

from __future__ import annotations

import io
import shutil

import pandas as pd
import pytest

from tsdtp.results import PREDICTIONS, RunRecord, read_record, write_record

# Which of the rows each run answers rightly: those of its record, and held-out ones.
RIGHT = {
    ("none", None, None): {1: ([0, 0, 0, 0], [0, 0]), 2: ([1, 1, 1, 1], [1, 1])},
    ("ltp", 0.4, "long"): {1: ([1, 1, 1, 0], [1, 0]), 2: ([1, 1, 1, 1], [1, 1])},
    ("topk", 0.4, None): {1: ([1, 1, 0, 0], [1, 1]), 2: ([1, 1, 1, 1], None)},
    ("topk", 0.3, None): {1: ([1, 1, 1, 1], [1, 1])},
}


@pytest.fixture
def folder(tmp_path):
    held_out = pd.DataFrame({"index": [7, 3]})
    for (method, budget, variant), seeds in RIGHT.items():
        cell = "-".join(str(part) for part in (method, budget, variant) if part is not None)
        for seed, (known, unknown) in seeds.items():
            identity = {"task": "t", "model": "m", "pruning": method, "budget": budget}
            identity |= {"seed": seed, "variant": variant, "run_id": cell, "execution": "packed"}
            keys = ("command", "commit", "dirty", "versions", "hardware", "date", "config")
            made = dict.fromkeys((*keys, "config_hash")) | {"date": "2026-01-01T00:00:00"}
            run = tmp_path / cell / f"seed{seed}"
            write_record(run, RunRecord(identity, made, {}, {}))
            answers = pd.DataFrame({"index": range(4), "label": 0, "prediction": known})
            answers["prediction"] = 1 - answers["prediction"]
            answers.to_csv(run / PREDICTIONS, index=False)
            if unknown is not None:
                held_out[f"{cell}_seed{seed}"] = unknown
    held_out.to_csv(tmp_path / "held_out_correct.csv.gz", index=False)
    return tmp_path


def test_both_sets_of_rows_are_compared_apart_and_together(script, folder, capsys):
    script("compare_held_out").main([str(folder)])
    printed = capsys.readouterr().out
    assert "both,m,ltp 0.4 long,none,accuracy,2,6,0.3333," in printed, "four digits"
    table = pd.read_csv(io.StringIO(printed)).set_index(["first", "second", "rows"])
    found = {key: (row["difference"], row["seeds"], row["n"]) for key, row in table.iterrows()}
    assert found["ltp 0.4 long", "none", "validation"] == (0.375, 2, 4)
    assert found["ltp 0.4 long", "none", "held out"] == (0.25, 2, 2)
    assert found["ltp 0.4 long", "none", "both"] == (pytest.approx(2 / 6, abs=1e-4), 2, 6)
    assert found["topk 0.4", "ltp 0.4 long", "validation"] == (-0.125, 2, 4)
    assert found["topk 0.4", "ltp 0.4 long", "both"] == (0, 1, 6), "only seed 1 has both"
    pairs = {key[:2] for key in found}
    assert len(pairs) == 4 and not any({"topk 0.3", "topk 0.4"} == set(pair) for pair in pairs)
    # All six are right with the first alone: McNemar has 2 * (1 / 2) ** 6.
    row = table.loc["topk 0.3", "none", "both"]
    assert row["p"] == pytest.approx(2 / 2**6) and row["low"] == row["high"] == 1


def test_rows_that_only_one_method_has_are_left_out(script, folder, capsys):
    held_out = pd.read_csv(folder / "held_out_correct.csv.gz")
    held_out[["index", "none_seed1"]].to_csv(folder / "held_out_correct.csv.gz", index=False)
    main = script("compare_held_out").main
    main([str(folder)])
    table = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert len(table) and set(table["rows"]) == {"validation"}
    for cell in ("ltp-0.4-long", "topk-0.4", "topk-0.3"):
        shutil.rmtree(folder / cell)
    with pytest.raises(SystemExit, match="no two methods answered the same rows"):
        main([str(folder)])


def test_a_record_that_was_replaced_does_not_count(script, folder, capsys):
    record = read_record(folder / "topk-0.4/seed1")
    record.provenance["date"] = "2020-01-01T00:00:00"
    write_record(folder / "z", record)
    wrong = pd.DataFrame({"index": range(4), "label": 1, "prediction": 0})
    wrong.to_csv(folder / "z" / PREDICTIONS, index=False)
    script("compare_held_out").main([str(folder)])
    printed = capsys.readouterr()
    table = pd.read_csv(io.StringIO(printed.out)).set_index(["first", "second", "rows"])
    assert table.loc["topk 0.4", "none", "validation"]["difference"] == 0.25
    assert "left out: another topk run" in printed.err


def test_an_answer_that_is_missing_is_not_a_wrong_one(script, folder):
    path = folder / "held_out_correct.csv.gz"
    frame = pd.read_csv(path).astype(object)
    frame.loc[1, "topk-0.3_seed1"] = None
    frame.to_csv(path, index=False)
    with pytest.raises(SystemExit, match="lacks answers in topk-0.3_seed1"):
        script("compare_held_out").main([str(folder)])


def test_what_is_missing_is_named(script, folder):
    main = script("compare_held_out").main
    with pytest.raises(SystemExit, match="held_out_correct"):
        main([str(folder / "none")])
    pd.DataFrame({"index": [3]}).to_csv(folder / "held_out_correct.csv.gz")
    with pytest.raises(SystemExit, match="no run with answers has a column"):
        main([str(folder)])
