"""Rows that started from another unpruned run than the one that stands in their table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tsdtp.report.frame import cell_name
from tsdtp.results import RunRecord


def other_starts(records: Iterable[RunRecord]) -> Iterator[str]:
    """A line for each table with such rows, whose difference from it is not all of pruning.

    Args:
        records: of a report, each cell and seed once.
    """
    records = list(records)
    made = {r.identity["run_id"]: r.provenance["date"] for r in records}
    found: dict[tuple[str, str], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        start = record.provenance.get("start") or {}
        then, now = start.get("date"), made.get(start.get("run_id"))
        if then is not None and now is not None and then != now:
            identity = record.identity
            rows = found[identity["task"], identity["model"]]
            rows[cell_name(identity)].append(identity["seed"])
    for (task, model), rows in found.items():
        said = "; ".join(f"{name}: {', '.join(map(str, sorted(s)))}" for name, s in rows.items())
        yield (
            f"{task} with {model}: rows started from other runs of the unpruned model than those "
            f"in this table (seeds of {said})"
        )
