"""Rows that are held out of a training must not come back through the runs it starts from."""

from __future__ import annotations

from collections.abc import Iterator

from tsdtp.cli.identity import Settings, held_record, other_teachers, start_path

_PLACE = ("source", "hub_path", "hub_name", "local_dir", "synthetic")  # elsewhere are other rows
# What decides which rows of train are held out. Not the run's own seed: all take the same rows.
_ROWS = ("evaluate_on", "holdout", "seed", "local_files", "train_examples")


def holdout_faults(settings: Settings) -> Iterator[str]:
    """What is wrong with the runs that a run starts from and learns from, where rows are held out.

    Args:
        settings: of the run, complete.
    """
    ours = settings["task"]["data"]
    if ours.get("evaluate_on") != "holdout":
        return
    for folder in filter(None, [start_path(settings), *other_teachers(settings)]):
        record = held_record(folder)
        theirs = record.provenance["config"]["task"]["data"] if record else ours
        elsewhere = any(theirs.get(key) != ours.get(key) for key in _PLACE)
        for key in () if elsewhere else _ROWS:
            if (there := theirs.get(key)) != (here := ours.get(key)):
                yield (
                    f"task.data.evaluate_on=holdout: {folder} was trained on rows held out here "
                    f"(task.data.{key}: {there}, here {here}); valid: a start and teachers of the "
                    "same task.data"
                )
