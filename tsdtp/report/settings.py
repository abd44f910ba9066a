"""Whether the seeds of a cell are runs of one setting, as their mean supposes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import pandas as pd

from tsdtp.report.frame import KEYS, cell_name, comparable
from tsdtp.results import NOT_IDENTITY, RunRecord

# What seeds may differ in beside that: where they ran, how they were measured, whom they come from.
_FREE = (
    *NOT_IDENTITY,
    *("seed", "pruning.seed", "method", "profiler", "validate_every", "benchmark"),
    *(f"hardware.{key}" for key in ("accelerator", "devices", "num_nodes", "strategy", "threads")),
    "hardware.num_workers",
    *("eval_batch_size", "model.init_from", "model.path", "model.local_dir", "teacher.others"),
    *("task.data.local_dir", "task.data.cache_dir"),
)


def differing_seeds(records: Iterable[RunRecord]) -> Iterator[str]:
    """A warning where the runs of cells have different values of a setting that all of them know.

    Cells of a task and model that differ alike have one together.

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
        runs = [_settings(known[i]) for i in rows.index]
        shared = sorted(set.intersection(*map(set, runs)))
        found = {key: dict.fromkeys(run[key] for run in runs) for key in shared}
        said = [f"{key} ({', '.join(values)})" for key, values in found.items() if len(values) > 1]
        if said:
            place = " ".join(rows.iloc[0][["task", "model"]])
            cells[place, "; ".join(said)].append(cell_name(rows.iloc[0].to_dict()))
    for (place, said), names in cells.items():
        yield f"{place} {', '.join(names)}: seeds differ in {said}, and the mean is of all"


def _settings(record: RunRecord) -> dict[str, str]:
    """The settings of a run by their dotted names, but for those that may differ."""
    (row,) = pd.json_normalize(record.provenance["config"]).astype(object).to_dict("records")
    untaught = ["teaching"] if record.identity["pruning"] == "none" else []
    free = tuple(f"{key}." for key in [*_FREE, *untaught])
    kept = {key: value for key, value in row.items() if not f"{key}.".startswith(free)}
    kept |= {f"rows of {file}": held for file, held in record.provenance.get("data", {}).items()}
    return {key: str(None if value is False else value) for key, value in kept.items()}
