"""Rows that are held out of a training must not come back through the runs it starts from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tsdtp.cli.config import leaves
from tsdtp.cli.identity import Settings, held_record, learnt_from, rows_of

# By the source of the rows: where they are, and what says which of them are learnt. The run's own
# seed does not: all take the same rows.
_PLACE = {"hub": ("hub_path", "hub_name"), "local": ("local_dir",), "synthetic": ("synthetic",)}
_PART = ("evaluate_on", "holdout", "seed")
_ROWS = {
    "hub": _PART,
    "local": (*_PART, "local_files.train"),
    "synthetic": (*_PART, "train_examples"),
}


def holdout_faults(settings: Settings) -> Iterator[str]:
    """What is wrong with the runs that a run starts from and learns from, where rows are held out.

    Args:
        settings: of the run, complete.
    """
    ours = _data(settings)
    if ours.get("evaluate_on") != "holdout":
        return
    for folder in learnt_from(settings):
        record = held_record(folder)
        theirs = _data(record.provenance["config"]) if record else ours
        if any(theirs.get(key) != ours[key] for key in ("source", *_PLACE[ours["source"]])):
            continue  # other rows
        for key in _ROWS[ours["source"]]:
            if (there := theirs.get(key)) != (here := ours.get(key)):
                yield (
                    f"task.data.evaluate_on=holdout: {folder} was trained on rows held out here "
                    f"(task.data.{key}: {there}, here {here}); valid: a start and teachers of the "
                    "same task.data"
                )


def _data(settings: Settings) -> dict[str, Any]:
    """The data's settings by their dotted keys."""
    return dict(leaves(rows_of(settings["task"]["data"]), "."))
