"""Other ways to run a classifier, pruned and not, side by side; no wall time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_way_answers_as_its_model_in_torch(trained, script):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = trained("pruning=topk", "pruning.budget=0.6")
    Path("texts.txt").write_text("a brilliant film and not dull\n\nso\n")
    script("time_exports").main([str(run), "texts.txt", "out.json", "--rounds", "2"])
    found = json.loads(Path("out.json").read_text())
    assert found["texts"] == 2 and found["flops_ratio"] < 0.9
    ways = found["ways"]
    assert {f"{who} onnx" for who in ("plain", "unpruned", "pruned")} < set(ways)
    exact = [name for name in ways if "int8" not in name]
    assert len(exact) == 8 and all(ways[name]["same_class"] == 1 for name in exact)
    assert ways["plain"]["vs_plain"] == 1 and all(way["ms"] > 0 for way in ways.values())
