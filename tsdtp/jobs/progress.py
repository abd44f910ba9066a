"""How far a job is: a small file that the job writes and whoever started it reads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tsdtp.atomic import write_atomic

PROGRESS_NAME = "progress.json"


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        stage: what it does now, in a word: teaching, training, evaluation, benchmark.
        epoch: epochs that have ended.
        epochs: that there will be; 0 where that is not known.
        fraction: of the training steps done, 0 to 1.
        metric: the latest validation figure, None before the first.
        history: that figure after each epoch.
    """

    stage: str = ""
    epoch: int = 0
    epochs: int = 0
    fraction: float = 0.0
    metric: float | None = None
    history: tuple[float, ...] = ()


def write_progress(folder: str | Path, progress: Progress) -> None:
    """Replaces the file in the job's folder."""
    write_atomic(Path(folder) / PROGRESS_NAME, json.dumps(asdict(progress)) + "\n")


def read_progress(folder: str | Path) -> Progress:
    """What the job last said; empty if it has said nothing that can be read."""
    try:
        data = json.loads((Path(folder) / PROGRESS_NAME).read_text(encoding="utf-8"))
        return Progress(**{**data, "history": tuple(data["history"])})
    except (OSError, ValueError, TypeError, KeyError):
        return Progress()


def enter_stage(folder: str | Path, stage: str) -> None:
    """Says that a job has come to its next stage."""
    write_progress(folder, replace(read_progress(folder), stage=stage))
