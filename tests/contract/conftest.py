"""Which methods meet which families: all of both would take a quarter of an hour."""

from __future__ import annotations

# One of each kind: nothing, a fraction, a threshold, learned, merged, gated, fewer blocks, fused.
KINDS = ("none", "topk", "dtp", "ts_dtp", "tome", "transkimmer", "depth")
KINDS += ("ts_dtp:fuse=summary", "ts_dtp:fuse=similar")
MEET_ALL = ("bert", "marian")  # a classifier and a translator


def pytest_collection_modifyitems(config, items) -> None:
    """Every method on one family of each task; on the others one of each kind."""
    out = [item for item in items if _left_out(getattr(item, "callspec", None))]
    gone = set(out)
    items[:] = [item for item in items if item not in gone]
    config.hook.pytest_deselected(items=out)


def _left_out(spec) -> bool:
    if spec is None or spec.params.get("family", MEET_ALL[0]) in MEET_ALL:
        return False
    return spec.params.get("method", KINDS[0]) not in KINDS
