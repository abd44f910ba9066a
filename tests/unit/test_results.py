"""Records survive crashes and say what is wrong with them."""

import json
import os

import pytest

from tsdtp.results import (
    RECORD_NAME,
    RunRecord,
    config_hash,
    read_record,
    read_records,
    write_record,
)


@pytest.fixture
def record():
    names = ("command", "commit", "dirty", "versions", "hardware", "date", "config", "config_hash")
    identity = {"task": "sst2", "pruning": "dtp", "model": "tiny", "seed": 1, "budget": None}
    return RunRecord(
        identity=identity | {"run_id": "r1", "execution": "packed"},
        provenance=dict.fromkeys(names),
        quality={"accuracy": 0.5, "n": 10},
        cost={"flops_ratio": 0.25, "tokens_kept": [1.0, 0.5]},
    )


def test_round_trip(tmp_path, record):
    path = write_record(tmp_path / "new" / "run", record)
    assert path == tmp_path / "new" / "run" / RECORD_NAME
    assert read_record(path) == read_record(path.parent) == record
    assert json.loads(path.read_text())["speed"] is None


def test_to_dict_is_a_copy(record):
    record.to_dict()["quality"]["accuracy"] = 0
    assert record.quality["accuracy"] == 0.5


def test_numbers_outside_json_become_null(tmp_path, record):
    record.quality["stderr"] = float("nan")
    record.cost["tokens_kept"] = (1.0, float("inf"))
    back = read_record(write_record(tmp_path, record))
    assert back.quality["stderr"] is None
    assert back.cost["tokens_kept"] == [1.0, None]


def test_value_outside_json_is_one_clear_line(tmp_path, record):
    record.provenance["config"] = {"callback": object()}
    with pytest.raises(ValueError, match=r"metrics\.json: .*object is not JSON serializable"):
        write_record(tmp_path, record)
    assert not list(tmp_path.iterdir())


def test_crash_before_the_rename_leaves_the_old_record(tmp_path, record, monkeypatch):
    write_record(tmp_path, record)

    def crash(*_):
        raise OSError("power cut")

    monkeypatch.setattr(os, "replace", crash)
    newer = RunRecord.from_dict(record.to_dict() | {"quality": {"accuracy": 0.9}})
    with pytest.raises(OSError, match="power cut"):
        write_record(tmp_path, newer)
    assert read_record(tmp_path) == record
    assert [path.name for path in tmp_path.iterdir()] == [RECORD_NAME]


def test_records_are_sorted_and_half_written_files_ignored(tmp_path, record):
    for name in ("b", "a/deep"):
        run = record.to_dict()
        run["identity"]["run_id"] = name
        write_record(tmp_path / name, RunRecord.from_dict(run))
    (tmp_path / "a" / f".{RECORD_NAME}.0123456789ab.tmp").write_text('{"iden')
    records, warnings = read_records(tmp_path)
    assert [r.identity["run_id"] for r in records.values()] == ["a/deep", "b"]
    assert list(records) == [tmp_path / "a" / "deep" / RECORD_NAME, tmp_path / "b" / RECORD_NAME]
    assert warnings == []


def test_damaged_file_is_named(tmp_path, record):
    write_record(tmp_path / "good", record)
    (tmp_path / "bad").mkdir()
    damaged = tmp_path / "bad" / RECORD_NAME
    damaged.write_text('{"identity": {')
    records, [warning] = read_records(tmp_path)
    assert list(records.values()) == [record]
    assert warning.startswith(f"{damaged}: not a readable record")
    assert "\n" not in warning


def test_bytes_that_are_no_text_are_a_damaged_file(tmp_path):
    (tmp_path / RECORD_NAME).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a readable record"):
        read_record(tmp_path)


def test_everything_missing_is_named(record):
    data = record.to_dict()
    del data["cost"], data["identity"]["seed"], data["provenance"]["commit"]
    with pytest.raises(ValueError) as error:
        RunRecord.from_dict(data, source="x/metrics.json")
    assert str(error.value) == (
        "x/metrics.json: missing key 'identity.seed'; missing key 'provenance.commit'; "
        "missing section 'cost'"
    )


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("quality", [], "section 'quality' is not an object"),
        ("speed", 3, "section 'speed' is neither an object nor null"),
        ("qualty", {}, "unknown section 'qualty'"),
        ("identity", {"budget": "half"}, "identity.budget is 'half', expected a number or null"),
        ("identity", {"budget": True}, "identity.budget is True, expected a number or null"),
        ("identity", {"seed": "1"}, "identity.seed is '1', expected an integer"),
        ("identity", {"variant": 1}, "identity.variant is 1, expected a string or null"),
        ("identity", {"task": None}, "identity.task is None, expected a string"),
        ("provenance", {"config": [1]}, r"provenance.config is \[1\], expected an object or null"),
        ("provenance", {"date": [1]}, r"provenance.date is \[1\], expected a string or null"),
    ],
)
def test_wrong_kind_is_named(record, section, value, message):
    data = record.to_dict()
    data[section] = data[section] | value if section in ("identity", "provenance") else value
    with pytest.raises(ValueError, match=f"^record: {message}$"):
        RunRecord.from_dict(data)


@pytest.mark.parametrize("data", [None, [], "text"])
def test_a_record_is_an_object(data):
    with pytest.raises(ValueError, match="expected a JSON object"):
        RunRecord.from_dict(data)


def test_missing_folder_and_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        read_records(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no such record"):
        read_record(tmp_path)


def test_hash_ignores_key_order_and_nothing_else():
    one = {"a": 1, "b": {"c": [1, 2], "d": None}}
    assert config_hash(one) == config_hash({"b": {"d": None, "c": [1, 2]}, "a": 1})
    assert config_hash(one) != config_hash({"a": 1, "b": {"c": [2, 1], "d": None}})
    assert config_hash({}) == "44136fa355b3"
    with pytest.raises(ValueError, match="cannot hash"):
        config_hash({"a": object()})
