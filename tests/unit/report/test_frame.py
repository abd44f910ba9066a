"""Numbers of the report, against answers worked out by hand."""

import math

import pytest

from tsdtp.report.caption import caption
from tsdtp.report.frame import FINE_TUNED, aggregate, to_frame, unique_runs, with_fine_tuned


def test_one_row_a_run(make_record):
    frame = to_frame([make_record(seed=1), make_record(seed=2, speed=None, memory=None)])
    assert len(frame) == 2
    assert frame["speed_vs_packed"].tolist()[0] == 1.5
    assert frame["memory_vs_packed"].tolist()[0] == 0.75
    assert frame["tokens_kept_last"].tolist() == [0.25, 0.25]
    assert frame["hardware"].tolist() == ["cpu Some CPU"] * 2
    assert math.isnan(frame["peak_mib"][1])


def test_mean_and_sample_deviation(make_record):
    values = {1: 0.90, 2: 0.92, 3: 0.94}
    numbers = aggregate(
        to_frame(make_record(seed=s, quality={"accuracy": a}) for s, a in values.items())
    )
    (row,) = numbers.to_dict("records")
    assert row["runs"] == row["accuracy_count"] == 3
    assert row["accuracy_mean"] == pytest.approx(0.92)
    assert row["accuracy_std"] == pytest.approx(0.02)


def test_cells_are_told_apart_and_null_budgets_kept(make_record):
    records = [make_record(budget=b, seed=s) for b in (None, 0.5, 0.1 + 0.2) for s in (1, 2)]
    numbers = aggregate(to_frame([*records, make_record(budget=0.3, seed=3)]))
    runs = {row.budget: row.runs for row in numbers.itertuples() if row.budget == row.budget}
    assert runs == {0.5: 2, 0.3: 3}
    assert numbers[numbers["budget"].isna()]["runs"].tolist() == [2]


def test_variants_are_told_apart_and_none_is_the_same_as_null(make_record):
    records = [make_record(seed=1), make_record(seed=2)]
    records[1].identity["variant"] = None
    numbers = aggregate(to_frame([*records, make_record(seed=1, variant="no_teaching")]))
    assert dict(zip(numbers["variant"], numbers["runs"], strict=True)) == {"": 2, "no_teaching": 1}


def test_one_seed_has_no_deviation_but_a_binomial_error(make_record):
    numbers = aggregate(to_frame([make_record(quality={"accuracy": 0.9, "n": 900})]))
    assert math.isnan(numbers["accuracy_std"][0])
    assert numbers["stderr_mean"][0] == pytest.approx(0.01)


def test_recorded_standard_error_is_kept(make_record):
    assert to_frame([make_record(quality={"stderr": 0.123})])["stderr"].tolist() == [0.123]


@pytest.mark.parametrize(
    ("section", "values", "place"),
    [
        ("quality", {"accuracy": "high"}, "quality.accuracy"),
        ("cost", {"tokens_kept": 0.5}, None),
        ("cost", {"tokens_kept": ["all"]}, "cost.tokens_kept"),
    ],
)
def test_a_value_that_is_no_number_is_named(make_record, section, values, place):
    record = make_record(**{section: values})
    if place is None:
        assert to_frame([record])["tokens_kept_last"].tolist() == [0.5]
        return
    with pytest.raises(ValueError, match=f"run sst2-ts_dtp-0.5-1: {place} is "):
        to_frame([record])


def test_repeated_run_is_not_a_seed(make_record):
    old = make_record(identity={"run_id": "old"}, provenance={"date": "2025-01-01"})
    new = make_record(identity={"run_id": "new"}, provenance={"date": "2025-02-01"})
    masked = make_record(
        identity={"run_id": "masked", "execution": "masked"}, provenance={"date": "2025-03-01"}
    )
    frame, warnings = unique_runs(to_frame([new, old, masked, make_record(seed=2)]))
    assert frame["run_id"].tolist() == ["new", "sst2-ts_dtp-0.5-2"]
    assert [line.split()[1] for line in warnings] == ["masked", "old"]


@pytest.mark.parametrize("way", [{"examples": 8}, {"threads": 1}])
def test_memory_of_other_texts_or_threads_has_no_mean(make_record, way):
    speed = {"examples": 16}
    records = [make_record(seed=1, speed=speed), make_record(seed=2, speed=speed | way)]
    assert aggregate(to_frame(records))["peak_mib_count"].item() == 0
    on_gpu = [
        make_record(seed=r.identity["seed"], speed={**r.speed, "device": "cuda"}) for r in records
    ]
    assert aggregate(to_frame(on_gpu))["peak_mib_count"].item() == 2 * ("threads" in way)


def test_fine_tuned_row_is_derived(make_record):
    speed = {"examples_per_second": 100.0, "latency_ms": 8.0, "vs_packed": 1.0, "vs_hf": 1.6}
    cost = {"flops_per_example": 4e9, "flops_ratio": 1.0, "tokens_kept": [1.0, 1.0]}
    records = [make_record("none", budget=None, speed=speed, cost=cost), make_record("dtp")]
    frame = with_fine_tuned(to_frame(records))
    (row,) = frame[frame["pruning"] == FINE_TUNED].to_dict("records")
    assert row["accuracy"] == 0.9
    assert row["examples_per_second"] == pytest.approx(62.5)
    assert row["latency_ms"] == pytest.approx(12.8)
    assert row["speed_vs_packed"] == pytest.approx(0.625)
    assert row["speed_vs_hf"] == 1
    gaps = ["peak_mib", "memory_vs_packed", "flops_per_example", "flops_ratio"]
    assert all(math.isnan(row[name]) for name in gaps)


def test_what_was_measured_again_names_what_measured_it(make_record):
    measured = {"commit": "b" * 40, "dirty": False, "date": "2030-01-01", "hardware": "new machine"}
    measured["command"] = "tsdtp eval"
    made = {"date": "2025-01-01", "commit": "a" * 40, "hardware": "old one", "dirty": True}
    old = make_record(provenance=made)
    measured["kept"] = {"sections": ["quality", "cost"], **old.provenance, "dirty": False}
    again = make_record(
        provenance={**old.provenance, "measured": measured},
        speed={**old.speed, "vs_packed": 9.0},
    )
    frame, _ = unique_runs(to_frame([again, old]))
    (row,) = frame.to_dict("records")
    assert row["speed_vs_packed"] == 9.0, "the newest measurement counts"
    assert (row["commit"], row["hardware"]) == ("b" * 40, "new machine")
    assert row["command"] == "tsdtp eval"
    assert row["trained_by"] == "a" * 10 + " with uncommitted changes on old one"
    assert row["kept_by"] == "quality, cost by " + "a" * 10 + " on old one"
    said = caption("t", "m", frame)
    assert f"commit bbbbbbbbbb; of them trained by {row['trained_by']}" in said
    assert f"; of them {row['kept_by']}; 2030-01-01" in said


def test_fine_tuned_memory_and_flops_where_measured(make_record):
    memory = {"peak_mib": 400.0, "hf_peak_mib": 600.0}
    cost = {"flops_per_example": 4e9, "flops_ratio": 1.0, "hf_flops_per_example": 5e9}
    frame = with_fine_tuned(to_frame([make_record("none", memory=memory, cost=cost)]))
    row = frame.iloc[1]
    assert (row["peak_mib"], row["memory_vs_packed"]) == (600, pytest.approx(400 / 600))
    assert (row["flops_per_example"], row["flops_ratio"]) == (5e9, 1.25)


@pytest.mark.parametrize("speed", [None, {"vs_hf": None}, {"vs_hf": 0}])
def test_fine_tuned_speed_is_a_gap_without_a_ratio(make_record, speed):
    row = with_fine_tuned(to_frame([make_record("none", speed=speed)])).iloc[1]
    assert math.isnan(row["speed_vs_hf"])
    assert math.isnan(row["speed_vs_packed"])
    assert math.isnan(row["examples_per_second"])


def test_memory_of_other_batches_or_devices_has_no_mean_and_of_other_machines_has(make_record):
    def mean(**speed) -> dict:
        other = make_record(seed=2, speed=speed, memory={"peak_mib": 100.0})
        other.provenance["hardware"] = {"cpu": "Another CPU", "gpu": "A GPU"}
        [row] = aggregate(to_frame([make_record(seed=1), other])).to_dict("records")
        assert math.isnan(row["examples_per_second_mean"]), "another machine"
        return row

    assert mean()["peak_mib_mean"] == 200 and mean()["memory_vs_packed_count"] == 2
    for other in ({"batch_size": 8}, {"device": "cuda"}, {"dtype": "bfloat16"}):
        row = mean(**other)
        assert math.isnan(row["peak_mib_mean"]) and row["memory_vs_packed_count"] == 0


@pytest.mark.parametrize("name", ["vs_hf", "vs_packed"])
def test_writing_of_other_lengths_has_no_mean(make_record, name):
    def mean(*lengths: int) -> float:
        records = [
            make_record(seed=seed, speed={"generation": {"new_tokens": length, name: 1.5}})
            for seed, length in enumerate(lengths, 1)
        ]
        return aggregate(to_frame(records))[f"writing_{name}_mean"].item()

    assert mean(24, 24) == 1.5 and math.isnan(mean(24, 128))
