"""Two models trade pruners: what each loses, and what both would have kept."""

from __future__ import annotations

import json

import pytest
from tiny import FAST

from tsdtp.results import read_record


@pytest.fixture
def swap_pruners(script):
    return script("swap_pruners").main


def test_each_model_is_measured_with_both_pruners(tsdtp, swap_pruners, tmp_path):
    runs = []
    for task in ("synthetic_sentence", "synthetic_pair"):
        settings = [
            f"task={task}",
            "pruning=ts_dtp",
            "pruning.budget=0.7",
            "benchmark.enabled=false",
        ]
        assert tsdtp("train", *FAST, *settings).code == 0
        runs.append(f"outputs/runs/{task}/tiny_bert/ts_dtp-0.7/seed0")
    swap_pruners([*runs, str(tmp_path / "swapped.json")])
    found = json.loads((tmp_path / "swapped.json").read_text())
    for run in runs:  # by their folders: two may be of one task
        assert found[run]["own"]["accuracy"] == read_record(run).quality["accuracy"]
        for who in ("own", "swapped"):
            assert found[run][who]["flops_ratio"] == pytest.approx(0.7, abs=0.1)
        assert 0 <= found[run]["overlap"]["jaccard"] <= 1


@pytest.mark.parametrize("name", ["swap_pruners", "oracle"])
def test_a_folder_without_a_run_is_named_in_one_line(script, capsys, name):
    folders = {"swap_pruners": ["here", "there"], "oracle": ["here"]}[name]
    with pytest.raises(SystemExit):
        script(name).main([*folders, "out.json"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("error: here: no such record")
