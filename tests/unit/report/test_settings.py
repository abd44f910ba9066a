from __future__ import annotations

import pytest

from tsdtp.report.render import load_report
from tsdtp.report.settings import differing_seeds
from tsdtp.results import write_record


def config(lr: float = 1e-3, **settings) -> dict:
    return {"config": {"optim": {"lr": lr}, "epochs": 3, "seed": 1, **settings}}


def test_seeds_of_other_settings_are_named(make_record):
    records = [
        make_record(seed=1, provenance=config(), variant="mine"),
        make_record(seed=2, provenance=config(5e-5, epochs=30), variant="mine"),
        make_record("topk", seed=1, provenance=config(5e-5)),
        make_record("topk", seed=2, provenance=config(5e-5)),
        make_record(seed=3, provenance=config(1.0)),
    ]
    (warning,) = differing_seeds(records)
    assert warning.startswith("sst2 tiny ts_dtp 0.5 mine: seeds differ in epochs (3, 30); ")
    assert "optim.lr (0.001, 5e-05)" in warning


def test_what_seeds_may_differ_in_is_no_difference(make_record):
    settings = {"model": {"init_from": "a"}, "hardware": {"threads": 1}, "fuse": False}
    other = {"model": {"init_from": "b"}, "hardware": {"threads": 2}, "fuse": None, "seed": 2}
    settings["task"], other["task"] = ({"data": {"cache_dir": folder}} for folder in "xy")
    teaching = [{"teaching": {"examples": examples}} for examples in (0, 8)]
    one = make_record("none", seed=1, provenance=config(**settings, **teaching[0]))
    two = make_record("none", seed=2, provenance=config(**other, **teaching[1], warm_start=True))
    assert not [*differing_seeds([one, two])]
    unpruned = [make_record("none", budget=None, provenance=config(lr)) for lr in (0.1, 0.2)]
    assert next(differing_seeds(unpruned)).startswith("sst2 tiny none: seeds differ")
    taught = [make_record(seed=s, provenance=config(**teaching[s])) for s in (0, 1)]
    assert "teaching.examples (0, 8)" in next(differing_seeds(taught))
    assert not [*differing_seeds([make_record(provenance={"config": None})])]


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        (
            {"model": {"init_from": None}},
            {"model": {"init_from": "runs/none/2"}},
            "model.init_from (None, a run)",
        ),
        (
            {"teacher": {"others": []}},
            {"teacher": {"others": ["a", "b"]}},
            "teacher.others ([], 2 runs)",
        ),
        (
            {"task": {"data": {"local_files": None}}},
            {"task": {"data": {"local_files": {"train": "mine.tsv"}}}},
            "task.data.local_files.train (None, mine.tsv)",
        ),
        ({}, {"warm_start": False}, "warm_start (True, None)"),
        ({}, {"mine": 3}, "mine (None, 3)"),
    ],
)
def test_what_one_seed_has_and_another_has_not_is_a_difference(make_record, one, two, said):
    records = [make_record(seed=s, provenance=config(**c)) for s, c in enumerate((one, two), 1)]
    (warning,) = differing_seeds(records)
    assert f"seeds differ in {said}, and" in warning


def test_a_number_is_the_same_however_it_is_written(make_record):
    values = ({"gradient_clip": 1.0, "epochs": 3}, {"gradient_clip": 1, "epochs": 3.0})
    records = [make_record(seed=s, provenance=config(**each)) for s, each in enumerate(values)]
    assert not [*differing_seeds(records)]


def test_other_rows_are_a_difference_where_both_say_what_they_held(make_record):
    held = [{"data": {"train.tsv": digest}} for digest in ("aa", "bb")]
    records = [make_record(seed=s, provenance=config() | d) for s, d in enumerate([*held, {}], 1)]
    (warning,) = differing_seeds(records)
    assert "seeds differ in rows of train.tsv (aa, bb), and" in warning
    assert not [*differing_seeds(records[1:])]


def test_cells_that_differ_alike_are_named_together(make_record):
    records = [
        make_record(method, seed=seed, provenance=config(lr))
        for method in ("dtp", "topk")
        for seed, lr in ((1, 1e-3), (2, 5e-5))
    ]
    (warning,) = differing_seeds(records)
    assert warning.startswith("sst2 tiny dtp 0.5, topk 0.5: seeds differ in optim.lr (")


def test_a_precision_is_no_place(make_record):
    places = [{"accelerator": "cpu", "threads": 1}, {"accelerator": "gpu", "threads": 8}]
    for key, values in (
        ("precision", ("32-true", "bf16-mixed")),
        ("dtype", ("float32", "float16")),
    ):
        hardware = [{**place, key: value} for place, value in zip(places, values, strict=True)]
        one, two = (
            make_record(seed=seed, provenance=config(hardware=each))
            for seed, each in enumerate(hardware, 1)
        )
        (warning,) = differing_seeds([one, two])
        assert f"differ in hardware.{key} ({', '.join(values)})" in warning


def test_the_report_says_so_of_what_it_shows(tmp_path, make_record):
    for name, seed, lr in (("a", 1, 1e-3), ("b", 2, 5e-5), ("c", 2, 1e-3)):
        date = {"date": f"2026-01-0{'abc'.index(name) + 1}T00:00:00"}
        record = make_record(seed=seed, provenance=config(lr) | date)
        write_record(tmp_path / name, record)
    (warning,) = load_report(tmp_path).warnings
    assert "left out" in warning, "the newer run of seed 2 is shown, and is like the other"
    write_record(tmp_path / "d", make_record(seed=3, provenance=config(1.0)))
    assert "differ in optim.lr (0.001, 1)" in load_report(tmp_path).warnings[1]
