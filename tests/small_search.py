"""What a small search tries."""

from __future__ import annotations

SPACE = {
    "pruning.layers": {"choices": [None, "[1,2]"]},
    "pruning.gamma": {"low": 0.5, "high": 8.0, "log": True},
    "epochs": {"low": 1, "high": 3},
}
SETTINGS = {"sampler": "tpe", "sampler_seed": 0, "changed_code": "ask"}
SEARCHED = {"start": ["task=sst2"], "trial": ["task=sst2", "epochs=1"], "space": SPACE}
