"""Whether the seeds of a cell are runs of one setting, as their mean supposes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from tsdtp.report.frame import KEYS, cell_name, comparable
from tsdtp.results import LATER, NOT_IDENTITY, RunRecord

# What seeds may differ in beside that: where they ran, how they were measured, whom they come from.
_FREE = (
    *NOT_IDENTITY,
    *("seed", "pruning.seed", "method", "profiler", "validate_every", "benchmark"),
    *(f"hardware.{key}" for key in ("accelerator", "devices", "num_nodes", "strategy", "threads")),
    "hardware.num_workers",
    *("eval_batch_size", "model.init_from", "model.path", "model.local_dir", "teacher.others"),
    *("task.data.local_dir", "task.data.cache_dir", "task.min_tokens"),
)


def differing_seeds(records: Iterable[RunRecord]) -> Iterator[str]:
    """A warning where the runs of cells have different values of a setting.

    One that a run lacks was null, or what `LATER` says. Cells of a task and model that differ
    alike have one warning together.

    Args:
        records: those that the tables show.
    """
    known = [record for record in records if record.provenance.get("config")]
    if not known:
        return
    keys = pd.DataFrame([{key: record.identity.get(key) for key in KEYS} for record in known])
    keys = comparable(keys.astype({"budget": float}))
    cells: dict[tuple[str, str], list[str]] = defaultdict(list)
    for _, rows in keys.groupby(KEYS, dropna=False):
        runs = [known[i] for i in rows.index]
        found = _values([_settings(run) for run in runs]) | _held(
            [r.provenance.get("data") for r in runs]
        )
        said = [f"{key} ({', '.join(values)})" for key, values in found.items() if len(values) > 1]
        if said:
            place = " ".join(rows.iloc[0][["task", "model"]])
            cells[place, "; ".join(said)].append(cell_name(rows.iloc[0].to_dict()))
    for (place, said), names in cells.items():
        yield f"{place} {', '.join(names)}: seeds differ in {said}, and the mean is of all"


def _values(runs: list[dict[str, str]]) -> dict[str, dict[str, None]]:
    """The different values of each setting, in the order of the runs."""
    return {
        key: dict.fromkeys(run.get(key, _said(LATER.get(key))) for run in runs)
        for key in sorted(set().union(*runs))
    }


def _held(runs: list[dict[str, str] | None]) -> dict[str, dict[str, None]]:
    """What each data file held, once and again; a run of an older version does not say."""
    told = [data for data in runs if data]
    files = sorted(set().union(*told))
    return {f"rows of {f}": dict.fromkeys(data[f] for data in told if f in data) for f in files}


def _settings(record: RunRecord) -> dict[str, str]:
    """The settings of a run by dotted name, without those in which seeds may differ.

    Which runs it starts or learns from may differ; whether there are any, and how many, may not.
    """
    row = pd.json_normalize(record.provenance["config"]).astype(object).iloc[0].to_dict()
    untaught = ["teaching"] if record.identity["pruning"] == "none" else []
    free = tuple(f"{key}." for key in [*_FREE, *untaught])
    kept = {key: value for key, value in row.items() if not f"{key}.".startswith(free)}
    if row.get("model.init_from"):
        kept["model.init_from"] = "a run"
    if others := row.get("teacher.others"):
        kept["teacher.others"] = f"{len(others)} runs"
    return {key: _said(value) for key, value in kept.items()}


def _said(value: Any) -> str:
    """A value as it is compared and told: 1 is 1.0, and false what is not given."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(None if value is False else value)
