"""Paired differences: known answers, and only what can be paired."""

from __future__ import annotations

import gzip
import math
from dataclasses import replace

import pandas as pd
import pytest

from tsdtp.report.answers import Run, read_examples, read_runs
from tsdtp.report.comparisons import compare, references_of
from tsdtp.report.render import load_report
from tsdtp.results import EXAMPLES, PREDICTIONS, read_records, write_record


def run(pruning: str, right: list[int], seed: int = 0, budget: float | None = 0.4, **keys) -> Run:
    """A run that answers the examples rightly where `right` says so; every label is 1."""
    identity = {"task": "t", "model": "m", "pruning": pruning, "budget": budget, "seed": seed}
    table = pd.DataFrame({"index": range(len(right)), "label": 1, "prediction": right})
    return Run(identity | keys, table)


def test_one_seed_is_tested_by_mcnemar():
    # 9 examples are right with the first alone, 1 with the second alone:
    # 2 * (1 + 10) / 2 ** 10 = 0.0215
    first, second = [1] * 9 + [0] + [1] * 10, [0] * 9 + [1] + [1] * 10
    table = compare([run("ts_dtp", first), run("dtp", second)])
    (row,) = table.to_dict("records")
    assert (row["first"], row["second"]) == ("ts_dtp 0.4", "dtp 0.4")
    assert row["difference"] == pytest.approx(0.4)
    assert row["p"] == pytest.approx(22 / 1024)
    assert row["low"] < 0.4 < row["high"] and (row["seeds"], row["n"]) == (1, 20)


def test_seeds_are_averaged_by_example():
    runs = [run("ts_dtp", [1, 1, 1, 0], seed) for seed in (0, 1)]
    runs += [run("dtp", [0, 1, 1, 0], 0), run("dtp", [0, 1, 0, 0], 1), run("dtp", [1] * 4, 2)]
    (row,) = compare(runs).to_dict("records")
    assert row["seeds"] == 2, "a seed without a partner is left out"
    assert row["difference"] == pytest.approx((1 + 0 + 0.5 + 0) / 4)
    # t = 0.375 / (0.4787 / sqrt(4)) = 1.567 with 3 degrees of freedom
    assert row["p"] == pytest.approx(0.2151, abs=1e-4)


def test_other_texts_under_the_same_indices_are_not_compared():
    asked = [replace(run("ts_dtp", [1, 1]), data={"validation.csv": rows}) for rows in "ab"]
    others = [replace(run("dtp", [0, 1]), data={"validation.csv": "a"}), run("topk", [0, 1])]
    assert set(compare([asked[0], *others])["second"]) == {"dtp 0.4", "topk 0.4"}
    assert set(compare([asked[1], *others])["second"]) == {"topk 0.4"}, "which does not say"


def test_what_files_held_for_a_run_is_read_from_its_record(tmp_path, make_record):
    for name, rows in (("one", "a"), ("two", "a"), ("three", "b")):
        held = {"train.csv": name, "more.csv": name, "validation.csv": rows}
        config = {"task": {"data": {"local_files": {"train": ["more.csv"]}}}}
        record = make_record(identity={"run_id": name}, provenance={"data": held})
        record.provenance["config"] = config
        write_record(tmp_path / name, record)
        run("dtp", [1, 0]).answers.to_csv(tmp_path / name / PREDICTIONS)
    runs, [warning] = read_runs(read_records(tmp_path)[0], tmp_path)
    assert [each.data for each in runs] == [{"validation.csv": rows} for rows in "aba"]
    assert warning.startswith("three: validation.csv held other rows than for most runs")


def test_rows_held_out_of_training_are_of_its_files(tmp_path, make_record):
    for split, held in (("holdout", {"train.csv": "a"}), ("validation", {})):
        record = make_record(provenance={"data": {"train.csv": "a"}})
        record.provenance["config"] = {"task": {"data": {"evaluate_on": split}}}
        write_record(tmp_path / split, record)
        run("dtp", [1, 0]).answers.to_csv(tmp_path / split / PREDICTIONS)
        [found], _ = read_runs(read_records(tmp_path / split)[0], tmp_path)
        assert found.data == held


def test_the_interval_holds_the_mean_of_95_in_100_draws():
    # 100 examples are right with the first alone, 40 with the second alone, 260 with both.
    first, second = [1] * 100 + [0] * 40 + [1] * 260, [0] * 100 + [1] * 300
    (row,) = compare([run("ts_dtp", first), run("dtp", second)]).to_dict("records")
    half = 1.96 * (140 / 400 - 0.15**2) ** 0.5 / 400**0.5
    assert row["difference"] == pytest.approx(0.15)
    assert row["low"] == pytest.approx(0.15 - half, abs=half / 10)
    assert row["high"] == pytest.approx(0.15 + half, abs=half / 10)


def test_how_seeds_differ_is_told_beside_the_examples():
    # The second is right on 10, 8 and 9 of 20 examples, the first on all: means 0.5, 0.6, 0.55.
    runs = [run("ts_dtp", [1] * 20, seed) for seed in range(3)]
    runs += [run("dtp", [0] * (20 - n) + [1] * n, seed) for seed, n in enumerate((10, 8, 9))]
    (row,) = compare(runs).to_dict("records")
    assert row["seed_sd"] == pytest.approx(0.05)
    # t = 0.55 / (0.05 / sqrt(3)) = 19.05 with 2 degrees of freedom
    assert row["seed_p"] == pytest.approx(0.00274, abs=1e-5)
    (alone,) = compare([runs[0], runs[3]]).to_dict("records")
    assert math.isnan(alone["seed_sd"]) and math.isnan(alone["seed_p"])
    (same,) = compare([*runs[:2], runs[3], run("dtp", [0] * 10 + [1] * 10, 1)]).to_dict("records")
    assert same["seed_sd"] == 0 and math.isnan(same["seed_p"]), "no deviation to go by"


@pytest.mark.parametrize("lost", [3, 10, 17])
def test_seeds_that_differ_alike_have_no_p(lost):
    seeds = (1, 2, 3)
    unpruned = [run("none", [1] * 100, seed, None) for seed in seeds]
    pruned = [run("ts_dtp", [0] * lost + [1] * (100 - lost), seed) for seed in seeds]
    [row] = compare([*unpruned, *pruned]).to_dict("records")
    assert row["seed_sd"] == 0 and math.isnan(row["seed_p"])


def test_budgets_that_are_equal_but_for_rounding_are_compared():
    (row,) = compare([run("ts_dtp", [1], budget=0.1 + 0.2), run("dtp", [0], budget=0.3)]).to_dict(
        "records"
    )
    assert row["first"] == "ts_dtp 0.3"


def test_a_part_taken_out_is_compared_with_the_whole():
    whole = run("ts_dtp", [1, 1, 1])
    parts = [run("ts_dtp", [1, 0, 1], variant=name) for name in ("no_embeddings", "decay_0")]
    rows = compare([whole, *parts]).to_dict("records")
    named = [(row["first"], row["second"]) for row in rows]
    assert named == [("ts_dtp 0.4", f"ts_dtp 0.4 {name}") for name in ("no_embeddings", "decay_0")]
    assert rows[0]["difference"] == pytest.approx(1 / 3)


def test_equal_answers_differ_by_nothing():
    (row,) = compare([run("topk", [1, 0]), run("none", [1, 0], budget=None)]).to_dict("records")
    assert (row["difference"], row["p"]) == (0, 1.0)


def test_only_what_was_asked_of_the_same_examples_is_compared():
    assert compare([run("dtp", [1, 0]), run("topk", [1, 0])]).empty, "neither is the reference"
    assert compare([run("ts_dtp", [1, 0]), run("dtp", [1, 0], budget=0.5)]).empty
    assert compare([run("ts_dtp", [1, 0]), run("dtp", [1, 0, 1])]).empty, "other examples"
    assert compare([run("ts_dtp", [1, 0]), run("none", [1, 0], task="u")]).empty


def compared(runs: list[Run], *references: str) -> list[tuple[str, str]]:
    return list(compare(runs, references)[["first", "second"]].itertuples(index=False, name=None))


def test_any_method_can_be_what_the_others_are_compared_with():
    runs = [run(name, [1, 0]) for name in ("ts_dtp", "dtp", "mine")]
    runs += [run("dtp", [1, 1], budget=0.5), run("topk", [0, 1], budget=0.5)]
    runs += [run("dtp", [0, 0], variant="long")]
    at_4 = [("dtp 0.4", name) for name in ("ts_dtp 0.4", "mine 0.4", "dtp 0.4 long")]
    assert compared(runs, "dtp") == [*at_4, ("dtp 0.5", "topk 0.5")], "at each of its budgets"
    assert compared(runs, "dtp 0.4") == at_4
    assert len(compared(runs, "dtp long")) == 3 == len(compared(runs, "dtp 0.4 long"))
    assert compared(runs) == []
    both = compared(runs, "dtp 0.4", "mine")
    assert both == [
        at_4[0],
        at_4[2],
        ("mine 0.4", "ts_dtp 0.4"),
        ("mine 0.4", "dtp 0.4"),
        ("mine 0.4", "dtp 0.4 long"),
    ]


def test_unpruned_models_are_compared_with_each_other_once():
    runs = [run("none", [1, 0], budget=None), run("none", [1, 1], budget=None, variant="taught")]
    runs += [run("topk", [0, 0], budget=None)]
    lost = [("topk", "none"), ("topk", "none taught")]
    for references in ((), ("none",), ("none", "none taught")):
        assert sorted(compared(runs, *references)) == [("none taught", "none"), *lost]


def test_the_reference_is_ts_dtp_unless_others_are_named():
    runs = [run("topk", [1]), run("ltp", [1], variant="long"), run("ts_dtp", [1])]
    assert references_of(runs) == ["ts_dtp"] and not references_of(runs[:2])
    assert references_of(runs, ["ltp long", "topk"]) == ["ltp long", "topk"]
    with_budget = next(name for run in runs for name in run.names if name.startswith("topk 0."))
    assert references_of(runs, [f"{with_budget}0"]) == [with_budget]
    with pytest.raises(ValueError, match="'ltp'; valid: ltp 0.4 long, ltp long, topk, topk 0.4$"):
        references_of(runs[:2], ["topk", "ltp"])
    with pytest.raises(ValueError, match="no run left its answers"):
        references_of([], ["ltp"])


def test_p_is_corrected_for_the_tests_of_its_task_by_holm():
    # 7, 6 and 10 answers differ, all one way: p = 2 / 2 ** 7, 2 / 2 ** 6, 2 / 2 ** 10.
    runs = [run("ts_dtp", [1] * 20), run("ts_dtp", [1] * 20, task="u")]
    runs += [run(name, [0] * n + [1] * (20 - n)) for name, n in (("a", 7), ("b", 6), ("c", 10))]
    runs += [run("d", [0] * 5 + [1] * 15, task="u"), run("e", [1] * 20)]
    table = compare(runs).set_index("second")
    assert table.loc[["a 0.4", "b 0.4", "c 0.4"], "p"].tolist() == [2 / 128, 2 / 64, 2 / 1024]
    holm = {"a 0.4": 3 * 2 / 128, "b 0.4": 2 * 2 / 64, "c 0.4": 4 * 2 / 1024, "e 0.4": 1}
    assert table.loc[list(holm), "holm"].tolist() == list(holm.values())
    assert table.loc["d 0.4", "holm"] == 2 / 32, "the only one of its task"
    runs[2] = run("a", [0] * 6 + [1] * 14)
    table = compare(runs).set_index("second")
    assert table.loc["a 0.4", "holm"] == table.loc["b 0.4", "holm"] == 3 * 2 / 64, (
        "never in reverse"
    )


def test_seeds_of_other_examples_have_no_mean():
    runs = [run(name, [1] * n, seed) for name in ("ts_dtp", "dtp") for seed, n in ((0, 2), (1, 3))]
    assert compare(runs).empty, "more of them"
    for one in runs[1::2]:
        one.answers.drop(index=0, inplace=True)
    assert compare(runs).empty, "as many, but others"
    for one in runs[::2]:
        one.answers["index"] = [2, 1]
    assert len(compare(runs)) == 1, "the same in another order"


def test_answers_are_found_beside_their_records(tmp_path, make_record):
    for number in range(4):
        write_record(tmp_path / f"run{number}", make_record(seed=number + 1))
    write_record(tmp_path / "bench", make_record(quality={"accuracy": None}))
    assert read_runs(read_records(tmp_path)[0], tmp_path) == ([], []), "none is compared"
    answers = b"index,label,prediction\n0,1,1\n"
    (tmp_path / "run0" / PREDICTIONS).write_bytes(gzip.compress(answers))
    (tmp_path / "run1" / PREDICTIONS).write_bytes(b"damaged")
    (tmp_path / "run2" / PREDICTIONS).write_bytes(gzip.compress(b"index,label\n0,1\n"))
    (found,), warnings = read_runs(read_records(tmp_path)[0], tmp_path)
    assert found.identity["seed"] == 1 and len(found.answers) == 1
    *warnings, lost = warnings
    assert lost == f"run3/{PREDICTIONS}: not there; its run is not compared"
    for name, warning in zip(("run1", "run2"), warnings, strict=True):
        assert warning.startswith(f"{name}/{PREDICTIONS}: no answers can be read"), warning
    (tmp_path / "run0" / EXAMPLES).write_text('{"labels": ["a"], "layers": 2, "examples": []}')
    (tmp_path / "run1" / EXAMPLES).write_text('{"labels"')
    assert [each["layers"] for each in read_examples(read_records(tmp_path)[0])] == [2]


def test_the_answers_are_those_of_the_records_that_the_tables_show(tmp_path, make_record):
    packed, hf = make_record(), make_record(identity={"execution": "hf"})
    for name, record, right in (("a", packed, 1), ("b", hf, 0)):
        write_record(tmp_path / name, record)
        answers = f"index,label,prediction\n0,1,{right}\n".encode()
        (tmp_path / name / PREDICTIONS).write_bytes(gzip.compress(answers))
        (tmp_path / name / EXAMPLES).write_text('{"labels": [], "layers": 1, "examples": []}')
    shown = load_report(tmp_path).records
    (found,), _ = read_runs(shown, tmp_path)
    assert found.answers["prediction"].tolist() == [1]
    assert (
        len(read_examples(shown)) == 1
        and len(read_runs(read_records(tmp_path)[0], tmp_path)[0]) == 2
    )


def test_who_answered_other_examples_is_said(tmp_path, make_record):
    for seed, rows in ((0, 3), (1, 3), (2, 2)):
        write_record(tmp_path / f"run{seed}", make_record(seed=seed))
        table = "index,label,prediction\n" + "".join(f"{i},1,1\n" for i in range(rows))
        (tmp_path / f"run{seed}" / PREDICTIONS).write_bytes(gzip.compress(table.encode()))
    runs, (warning,) = read_runs(read_records(tmp_path)[0], tmp_path)
    assert len(runs) == 3
    assert f"{runs[2].identity['run_id']}: answered other examples (2) than most" in warning


def test_tests_of_another_model_correct_no_p_and_none_is_above_1():
    runs = [run("ts_dtp", [1] * 9, model=model) for model in "ab"]
    runs += [run("dtp", [0] * 6 + [1] * 3, model="a"), run("topk", [0] * 7 + [1] * 2, model="b")]
    table = compare(runs, samples=2)
    assert table["holm"].tolist() == table["p"].tolist() == [2 / 64, 2 / 128]
    runs = [run("ts_dtp", [1, 1, 0]), run("dtp", [0, 1, 1]), run("topk", [0, 0, 1])]
    assert compare(runs, samples=2)["holm"].tolist() == [1, 1], "twice 1"


def test_a_label_that_differs_is_another_example():
    one, other = run("ts_dtp", [1, 0]), run("dtp", [1, 1])
    assert len(compare([one, other], samples=2)) == 1
    other.answers.loc[1, "label"] = 0
    assert compare([one, other], samples=2).empty


def test_seeds_that_were_asked_other_texts_have_no_mean():
    runs = [run(name, [1, 0], seed) for name in ("ts_dtp", "dtp") for seed in (0, 1)]
    for texts, rows in (("aa", 1), ("ab", 0)):
        held = [replace(r, data={"validation.csv": texts[r.identity["seed"]]}) for r in runs]
        assert len(compare(held, samples=2)) == rows


def test_answers_of_a_later_measurement_are_of_the_files_that_it_read(tmp_path, make_record):
    measured = {"measured": {"data": {"validation.csv": "new"}}}
    for name, made in (("a", measured), ("b", {})):
        held = {"data": {"validation.csv": "old"}, **made}
        write_record(tmp_path / name, make_record(identity={"run_id": name}, provenance=held))
        run("dtp", [1, 0]).answers.to_csv(tmp_path / name / PREDICTIONS)
    runs, _ = read_runs(read_records(tmp_path)[0], tmp_path)
    assert [each.data["validation.csv"] for each in runs] == ["new", "old"]
