"""Answers to single examples, beside the records."""

from __future__ import annotations

import json
import zlib
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tsdtp.report.frame import Mark, mark
from tsdtp.results import EXAMPLES, PREDICTIONS, RECORD_NAME, RunRecord, read_record

CELL = ("task", "model", "pruning", "budget", "variant")


@dataclass(frozen=True)
class Run:
    """One run's identity and its answers: columns index, label, prediction, ..."""

    identity: dict[str, Any]
    answers: pd.DataFrame

    @property
    def cell(self) -> tuple:
        """What the seeds of one row of a table share."""
        return tuple(self.identity.get(key) for key in CELL)

    @property
    def name(self) -> str:
        """Method, budget and variant."""
        return self._words("pruning", "budget", "variant")

    @property
    def names(self) -> tuple[str, str]:
        """What it may be called: of its budget, or of any."""
        return self.name, self._words("pruning", "variant")

    def _words(self, *keys: str) -> str:
        parts = (self.identity.get(key) for key in keys)
        return " ".join(str(part) for part in parts if part is not None)


def read_runs(folder: str | Path, among: Container[Mark] | None = None) -> list[Run]:
    """Runs under a folder that left their answers, sorted by path; damaged ones are left out.

    Args:
        folder: searched at any depth.
        among: the marks of the records that count; None: all do.
    """
    runs = []
    for path, record in _beside(folder, PREDICTIONS, among):
        try:
            answers = pd.read_csv(path)
        except (OSError, ValueError, EOFError, zlib.error):
            continue
        if {"index", "label", "prediction"} <= set(answers):
            runs.append(Run(record.identity, answers))
    return runs


def read_examples(folder: str | Path, among: Container[Mark] | None = None) -> list[dict[str, Any]]:
    """Examples with tokens: `{"run": record, "labels", "layers", "examples"}`; see `read_runs`."""
    found = []
    for path, record in _beside(folder, EXAMPLES, among):
        try:
            shown = json.loads(path.read_text(encoding="utf-8"))
            found.append({"run": record, **{k: shown[k] for k in ("labels", "layers", "examples")}})
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return found


def _beside(
    folder: str | Path, name: str, among: Container[Mark] | None
) -> Iterator[tuple[Path, RunRecord]]:
    """Files of that name with the record that each lies beside, if it counts."""
    for path in sorted(Path(folder).rglob(name)):
        try:
            record = read_record(path.with_name(RECORD_NAME))
        except (OSError, ValueError):
            continue
        if among is None or mark(record) in among:
            yield path, record
