"""A sweep's tables and plots as one offline W&B run."""

from __future__ import annotations

import json

import pytest
from offline_wandb import offline_runs

from tsdtp.cli.config import ConfigError
from tsdtp.cli.tracking import log_sweep
from tsdtp.report.sweep import SWEEP_NAME
from tsdtp.results import RunRecord, write_record

PROVENANCE = ("command", "commit", "dirty", "versions", "hardware", "date", "config", "config_hash")


def record(method: str, seed: int, accuracy: float) -> RunRecord:
    identity = {"task": "sst2", "model": "tiny", "pruning": method, "seed": seed, "budget": None}
    return RunRecord(
        identity=identity | {"run_id": f"{method}{seed}", "execution": "packed"},
        provenance=dict.fromkeys(PROVENANCE, "") | {"hardware": {}, "versions": {}, "config": {}},
        quality={"accuracy": accuracy, "n": 100, "split": "validation"},
        cost={"flops_per_example": 1e9, "flops_ratio": 0.5, "tokens_kept": [1.0, 0.5]},
    )


@pytest.mark.slow
def test_tables_and_plots_of_a_sweep(tmp_path, wandb, monkeypatch):
    from PIL import Image

    monkeypatch.delenv("WANDB_MODE")
    folder = tmp_path / "mine"
    cells = []
    for method, seed, accuracy in (("none", 0, 0.9), ("dtp", 0, 0.7), ("dtp", 1, 0.8)):
        write_record(folder / method / f"seed{seed}", record(method, seed, accuracy))
        identity = record(method, seed, accuracy).identity
        cells.append({k: identity[k] for k in ("task", "model", "pruning", "seed", "budget")})
    (folder / SWEEP_NAME).write_text(json.dumps({"name": "mine", "cells": cells}))
    Image.new("RGB", (4, 3), "red").save(folder / "pareto.png")
    for _ in range(2):  # the second time W&B's own copy of the plot lies in the folder
        log_sweep(folder, "mine", offline=True)
    first, found = offline_runs(folder)
    assert (found.run.job_type, found.run.run_group, found.run.project) == (
        "sweep",
        "mine",
        "tsdtp",
    )
    assert "3 of 3 runs finished" in found.run.notes and found.exit_code == 0
    [row] = found.history
    results = table(found, row["results"])
    means = dict(zip(results["pruning"], results["accuracy_mean"], strict=True))
    assert means["dtp"] == pytest.approx(0.75) and means["none"] == 0.9
    shown = table(found, row["tables/sst2/tiny"])
    assert "General DTP" in shown["Method"] and any("75.00 ±" in v for v in shown["Accuracy (%)"])
    assert [key for key in row if key.startswith("plots/")] == ["plots/pareto"]
    image = row["plots/pareto"]
    assert (image["width"], image["height"]) == (4, 3)
    uploaded = found.folder / "files" / image["path"]
    assert uploaded.read_bytes() == (folder / "pareto.png").read_bytes()
    assert first.run.run_id != found.run.run_id


def table(run, reference: dict) -> dict[str, list]:
    data = json.loads((run.folder / "files" / reference["path"]).read_text())
    return dict(zip(data["columns"], zip(*data["data"], strict=True), strict=True))


def test_an_upload_that_fails_is_said_in_a_line(tmp_path, monkeypatch):
    import wandb

    def fail(**_):
        raise wandb.errors.CommError("timed out\nwhile retrying")

    monkeypatch.setattr(wandb, "init", fail)
    write_record(tmp_path, record("none", 0, 0.9))
    with pytest.raises(ConfigError, match="tables are written and not at .*timed out while.*sync"):
        log_sweep(tmp_path, "mine")


def test_without_a_record_there_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="no record"):
        log_sweep(tmp_path, "mine", offline=True)
    assert not list(tmp_path.iterdir())
