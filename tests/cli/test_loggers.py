"""Loggers write where they should, without an account."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

RUN = "outputs/runs/synthetic_sentence/tiny_bert/none/seed0"
SETTINGS = ["debug=fast", "callbacks=none", "hardware.threads=1", "benchmark.enabled=false"]


def test_csv_holds_the_curves(tsdtp):
    assert tsdtp("train", *SETTINGS).code == 0
    frame = pd.read_csv(Path(RUN) / "csv" / "metrics.csv")
    assert {"val/accuracy", "val/flops_ratio", "val/tokens_kept/layer0"} <= set(frame.columns)


@pytest.mark.slow
def test_many_loggers_at_once_offline(tsdtp, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(Path.cwd()))
    outcome = tsdtp("train", *SETTINGS, "logger=many")
    assert outcome.code == 0, outcome.err
    assert list((Path(RUN) / "wandb").glob("offline-run-*"))
    assert list((Path(RUN) / "tensorboard").glob("events.out.tfevents.*"))
