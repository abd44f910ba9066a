"""Other ways to run a classifier, pruned and not, side by side; no wall time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tsdtp


@pytest.mark.slow
def test_every_way_answers_as_its_model_in_torch(trained, script):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    few = ("model.config.num_hidden_layers=3", "model.blocks=2")
    run = trained("pruning=topk", "pruning.budget=0.4", *few)
    texts = ["a brilliant film and not dull", "so", "not so"]
    Path("texts.txt").write_text("\n\n".join(texts))
    Path("labels.txt").write_text("0\n1\n1\n")
    options = ["texts.txt", "out.json", "--rounds", "2", "--timed", "2", "--labels", "labels.txt"]
    script("time_exports").main([str(run), *options])
    found = json.loads(Path("out.json").read_text())
    assert found["texts"] == 3 and found["timed"] == 2 and found["flops_ratio"] < 0.9
    ways = found["ways"]
    assert {f"{who} onnx" for who in ("plain", "unpruned", "pruned")} < set(ways)
    exact = [name for name in ways if "int8" not in name]
    assert len(exact) == 8 and all(ways[name]["same_class"] == 1 for name in exact)
    assert ways["plain"]["vs_plain"] == 1 and all(way["ms"] > 0 for way in ways.values())
    given = tsdtp.predict(tsdtp.from_pretrained(run), tsdtp.tokenizer_of(run), texts)
    classes = [[*each.probabilities].index(each.label) for each in given]
    right = [kind == label for kind, label in zip(classes, (0, 1, 1), strict=True)]
    assert ways["pruned"]["accuracy"] == sum(right) / 3
    Path("wrong.txt").write_text("0\n1\n")
    with pytest.raises(SystemExit, match="wrong.txt: 2 labels of 3 texts"):
        script("time_exports").main([str(run), *options[:-1], "wrong.txt"])
