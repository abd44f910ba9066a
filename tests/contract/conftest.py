"""Which methods meet which families: all of both would take a quarter of an hour."""

from __future__ import annotations

# One of each kind: nothing, a fraction, a threshold, learned, merged, gated, fused.
KINDS = ("none", "topk", "dtp", "ts_dtp", "tome", "transkimmer")
KINDS += ("ts_dtp:fuse=summary", "ts_dtp:fuse=similar")
LATER_FAMILIES = ("modernbert", "gpt2", "llama", "qwen2")


def pytest_collection_modifyitems(config, items) -> None:
    """Every method on the BERT-like families; on the others one of each kind."""
    out = [item for item in items if _left_out(getattr(item, "callspec", None))]
    gone = set(out)
    items[:] = [item for item in items if item not in gone]
    config.hook.pytest_deselected(items=out)


def _left_out(spec) -> bool:
    if spec is None or spec.params.get("family") not in LATER_FAMILIES:
        return False
    return spec.params.get("method", KINDS[0]) not in KINDS
