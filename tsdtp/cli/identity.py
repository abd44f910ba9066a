"""What makes a run this very run, and whether the one in a folder is it; no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from tsdtp.cli.config import leaves, task_name
from tsdtp.provenance import file_digest, same_code, with_own
from tsdtp.results import LATER, NOT_IDENTITY, RECORD_NAME, RunRecord, config_hash, read_record

Settings = Mapping[str, Any]


class Status(StrEnum):
    """What lies in a run's folder."""

    MISSING = "missing"
    DONE = "done"
    CHANGED = "changed"  # other settings
    RESTARTED = "start changed"  # a run that it starts from or learns from has been run again
    OTHER_CODE = "other code"  # the package's source has changed since
    DAMAGED = "damaged"


def identity_hash(settings: Settings) -> str:
    """Hash of a resolved config, without what may differ between two runs of one cell."""
    return config_hash(_own(settings))


def _own(settings: Settings) -> dict[str, Any]:
    """The settings that identify a run.

    Without `NOT_IDENTITY`, the checkpoint callback and `model.local_dir`: the model's name says
    which files they are. A run to start from or learn from is one however its path is written.
    """
    own = {k: v for k, v in settings.items() if k not in NOT_IDENTITY}
    if "model" in own:
        own["model"] = {k: v for k, v in own["model"].items() if k != "local_dir"}
    if start := own.get("model", {}).get("init_from"):
        own["model"]["init_from"] = _named(start)
    if others := (own.get("teacher") or {}).get("others"):
        own["teacher"] = {**own["teacher"], "others": [_named(other) for other in others]}
    if "data" in own.get("task", {}):
        own["task"] = {**own["task"], "data": rows_of(own["task"]["data"])}
    acting = {k: v for k, v in (settings.get("callbacks") or {}).items() if k != "checkpoint"}
    return {**own, "callbacks": acting} if acting else own


def _named(run: str | int) -> str | int:
    """A run by its path from here; the unpruned one and one by its seed as they are."""
    return run if isinstance(run, int) or run == "unpruned" else os.path.relpath(run)


def rows_of(data: Settings) -> dict[str, Any]:
    """What says which rows are read: no cache, no folder that is not read, wherever the user is."""
    own = {k: v for k, v in data.items() if k not in ("cache_dir", "local_dir")}
    if data.get("source") not in ("hub", "synthetic") and data.get("local_dir"):
        own["local_dir"] = str(Path(data["local_dir"]).resolve())
    return own


def changed_from(record: RunRecord | None, settings: Settings) -> str:
    """Which settings are not those of a record, and which of its data files hold other rows now.

    As `changed` says it.
    """
    if record is None:
        return changed({}, settings)
    made = record.provenance
    return changed(made["config"] or {}, settings, other_rows(made.get("data", {}), settings))


def other_rows(held: Mapping[str, str], settings: Settings) -> list[str]:
    """The data files that hold other rows than once, as `NAME: other rows`; those gone do not.

    Args:
        held: what they held, see `TaskData.digests`; a run of an older version does not say.
        settings: that say where they lie.
    """
    folder = Path(settings["task"]["data"].get("local_dir") or "")
    here = {name: folder / name for name in held if (folder / name).is_file()}
    return differing(held, {name: file_digest(file) for name, file in here.items()})


def differing(held: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The files of one name that hold other rows than once, as `NAME: other rows`."""
    return [f"{name}: other rows" for name in now if held.get(name, now[name]) != now[name]]


def changed(recorded: Settings, settings: Settings, more: Sequence[str] = (), most: int = 4) -> str:
    """Which settings are not the recorded ones, as ` (key: then -> now; ...)`; "" where none is.

    A key that was not recorded was null, or what `LATER` says: a new one with a default that
    changes nothing makes no other run of an old one. Those in `more` are named after them.
    """
    both = (_own(recorded), _own(settings))
    then, now = ({k: v for k, v in leaves(s, ".") if k != "method"} for s in both)
    pairs = {k: (then.get(k, LATER.get(k)), now.get(k, LATER.get(k))) for k in then | now}
    found = [f"{k}: {old} -> {new}" for k, (old, new) in sorted(pairs.items()) if old != new]
    found += more
    shown = [*found[:most], *(["..."] if found[most:] else [])]
    return f" ({'; '.join(shown)})" if shown else ""


def cell_identity(settings: Settings, method: str) -> dict[str, Any]:
    """What tells the cells of a table from each other."""
    return {
        "task": task_name(str(settings["task"]["name"]), settings["task"]["data"]["source"]),
        "model": str(settings["model"]["name"]),
        "pruning": method,
        "budget": settings["pruning"].get("budget"),
        "variant": settings["variant"],
        "seed": settings["seed"],
    }


def start_path(settings: Settings) -> Path | None:
    """Folder of the run that a run starts from and learns from; None if it starts afresh."""
    named = settings["model"]["init_from"]
    if named != "unpruned":
        return None if named is None else Path(named)
    return _unpruned_runs(settings) / Path(settings["output_dir"]).name


def other_teachers(settings: Settings) -> list[Path]:
    """Folders of the runs that teach beside the one to start from, without that one itself."""
    teacher = settings.get("teacher") or {}
    folders = [
        _unpruned_runs(settings) / f"seed{named}" if isinstance(named, int) else Path(named)
        for named in teacher.get("others") or ()
    ]
    start = start_path(settings)
    return [f for f in folders if start is None or f.resolve() != start.resolve()]


def learnt_from(settings: Settings) -> list[Path]:
    """Folders of the run that a run starts from, if any, and of those that teach beside it."""
    start = start_path(settings)
    return [*([] if start is None else [start]), *other_teachers(settings)]


def _unpruned_runs(settings: Settings) -> Path:
    """Where the unpruned runs beside this run lie, a folder a seed."""
    return Path(os.path.relpath(settings["output_dir"])).parent.parent / "none"


def lineage(settings: Settings) -> dict[str, Any]:
    """Which runs a run starts from and learns from, as their folders hold them now."""
    start, teachers = start_path(settings), other_teachers(settings)
    return {"start": start and _held(start), "teachers": [_held(folder) for folder in teachers]}


def held_record(folder: Path) -> RunRecord | None:
    """The record in a folder; None without a readable one."""
    try:
        return read_record(folder)
    except (OSError, ValueError):
        return None


def _held(folder: Path) -> dict[str, Any] | None:
    """Which run a folder holds; without a readable record which weights, None without either."""
    record = held_record(folder)
    if record is None:
        files = sorted(folder.glob("*.safetensors"))
        return {file.name: file_digest(file) for file in files} or None
    made = record.provenance
    return {
        "run_id": record.identity["run_id"],
        "config_hash": made["config_hash"],
        "date": made["date"],
    }


def inspect_run(settings: Settings, code: dict[str, Any]) -> tuple[Status, RunRecord | None]:
    """Compares the record in a run's folder with the run that the settings describe.

    Args:
        settings: the resolved config.
        code: the present state of this package, as `code_state` gives it.

    Returns:
        What it is, and the record where it can be read.
    """
    folder = Path(settings["output_dir"])
    if not (folder / RECORD_NAME).is_file():
        return Status.MISSING, None
    try:
        record = read_record(folder)
    except ValueError:
        return Status.DAMAGED, None
    made = record.provenance
    if changed_from(record, settings):
        return Status.CHANGED, record
    # A record of an older version does not say who taught.
    if any(made.get(key) and made[key] != held for key, held in lineage(settings).items()):
        return Status.RESTARTED, record
    code = with_own(code, settings)
    return (Status.DONE if same_code(made, code) else Status.OTHER_CODE), record
