"""Reads what W&B wrote for a later `wandb sync`: its own reader is a compiled program."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

BLOCK, HEADER, FILE_HEADER = 32768, 7, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def payloads(path: Path) -> Iterator[bytes]:
    """The records of a file in LevelDB's log format: blocks of 32 KiB, records in pieces."""
    data, position, record = path.read_bytes(), FILE_HEADER, b""
    assert data.startswith(b":W&B"), path
    while position + HEADER <= len(data):
        if (left := BLOCK - position % BLOCK) < HEADER:
            position += left
            continue
        length = int.from_bytes(data[position + 4 : position + 6], "little")
        kind = data[position + 6]
        assert FULL <= kind <= LAST, f"{path}: record of kind {kind} at {position}"
        record += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (FULL, LAST):
            yield record
            record = b""


class OfflineRun(NamedTuple):
    """One offline run.

    Attributes:
        folder: of the run; `files/` in it is what gets uploaded.
        run: the protocol buffer that opens it: run_id, run_group, job_type, tags, display_name.
        config: as set in the end.
        summary: as set in the end.
        history: one dictionary for each logged row.
        files: names of the files to be uploaded.
        exit_code: None where the run was never closed.
    """

    folder: Path
    run: Any
    config: dict
    summary: dict
    history: list[dict]
    files: list[str]
    exit_code: int | None


def offline_runs(folder: Path) -> list[OfflineRun]:
    """All offline runs of a folder's `wandb/`, the oldest first."""
    found = [_read(path) for path in Path(folder).glob("wandb/offline-run-*/*.wandb")]
    return sorted(found, key=lambda run: run.run.start_time.ToNanoseconds())


def _read(path: Path) -> OfflineRun:
    from wandb.proto.wandb_internal_pb2 import Record

    until = time.monotonic() + 20  # W&B's writer is a process of its own, and may be late
    while True:
        records = [Record.FromString(payload) for payload in payloads(path)]
        if any(r.HasField("exit") for r in records) or time.monotonic() > until:
            break
        time.sleep(0.1)
    run = next(r.run for r in records if r.HasField("run"))
    config: dict = _values(run.config.update)
    summary: dict = {}
    history, files, exit_code = [], [], None
    for record in records:
        kind = record.WhichOneof("record_type")
        if kind == "config":
            config |= _values(record.config.update)
        elif kind == "summary":
            summary |= _values(record.summary.update)
        elif kind == "history":
            history.append(_values(record.history.item))
        elif kind == "files":
            files += [file.path for file in record.files.files]
        elif kind == "exit":
            exit_code = record.exit.exit_code
    return OfflineRun(path.parent, run, config, summary, history, files, exit_code)


def _values(items) -> dict:
    values: dict = {}
    for item in items:
        *parents, last = item.nested_key or [item.key]
        place = values
        for key in parents:
            place = place.setdefault(key, {})
        place[last] = json.loads(item.value_json)
    return values
