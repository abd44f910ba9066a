"""Made-up records: every value is an argument, so a test says what it depends on."""

import pytest

from tsdtp.results import RunRecord, config_hash


def _record(
    pruning="ts_dtp", seed=1, budget=0.5, task="sst2", model="tiny", variant=None, **changes
):
    identity = {"task": task, "pruning": pruning, "model": model, "seed": seed, "budget": budget}
    # Records from before there were variants have no such key.
    identity |= {"variant": variant} if variant else {}
    run = {"run_id": f"{task}-{pruning}-{budget}-{seed}", "execution": "packed"}
    provenance = {
        **{"command": "tsdtp train", "commit": "a" * 40, "dirty": False, "versions": {}},
        **{"hardware": {"cpu": "Some CPU", "gpu": None}, "date": f"2025-03-0{seed}T10:00:00"},
        **{"config": {}, "config_hash": config_hash({})},
    }
    quality = {"accuracy": 0.9, "n": 872, "split": "validation"}
    cost = {"flops_per_example": 2e9, "flops_ratio": 0.5, "tokens_kept": [1.0, 0.75, 0.25]}
    speed = {
        **{"device": "cpu", "dtype": "float32", "batch_size": 32, "threads": 2},
        **{"examples_per_second": 100.0, "latency_ms": 8.0, "vs_packed": 1.5, "vs_hf": 2.0},
    }
    memory = {"peak_mib": 300.0, "vs_packed": 0.75}
    sections = {"identity": identity | run, "provenance": provenance}
    sections |= {"quality": quality, "cost": cost, "speed": speed, "memory": memory}
    for section, values in changes.items():
        sections[section] = None if values is None else sections[section] | values
    return RunRecord(**sections)


@pytest.fixture
def make_record():
    """Builds a record; a section given as a dict is merged in, given as None it is not measured."""
    return _record
