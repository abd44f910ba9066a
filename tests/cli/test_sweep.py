"""A sweep runs its grids in order, survives a failing cell, and fills a table with gaps marked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import FAST

GRID = """# Two methods on generated data.
common: [model=tiny_bert]
grids:
  - {task: [synthetic_sentence], pruning: [none], seed: [0]}
  - {task: [synthetic_sentence], pruning: [topk], pruning.budget: [0.6, 0.01], seed: [0]}
"""


@pytest.mark.slow
def test_a_failed_cell_leaves_a_gap_and_the_others_run(tsdtp, monkeypatch, tmp_path):
    from tsdtp.cli import sweep

    (tmp_path / "mine.yaml").write_text(GRID)
    grids = sweep.OmegaConf.load(tmp_path / "mine.yaml")
    monkeypatch.setattr(sweep, "load_sweep", lambda name: grids)
    outcome = tsdtp("sweep", "sweep=mine", *FAST)
    assert outcome.code == 1, "a failed cell must show in the exit code"
    folder = Path("outputs/sweeps/mine")
    assert len(json.loads((folder / "sweep.json").read_text())["cells"]) == 3
    assert len(list(folder.rglob("metrics.json"))) == 2
    table = (folder / "tables.md").read_text()
    assert "2 of 3 runs finished" in table
    assert "No Pruning (packed)" in table and "Top-k" in table
    assert "–" in next(line for line in table.splitlines() if "0.01" in line)
    for name in ("tables.tex", "tables.csv"):
        assert (folder / name).stat().st_size > 0
