"""One cell of a plan: what it is, whether it has to run, and for how long."""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsdtp.cli.config import ConfigError
from tsdtp.cli.identity import Settings, Status, cell_identity, changed_from
from tsdtp.cli.other_code import other_code
from tsdtp.jobs.board import counted
from tsdtp.results import RunRecord

_TO_RUN = (Status.MISSING, Status.CHANGED, Status.RESTARTED, Status.DAMAGED)


@dataclass(frozen=True)
class Planned:
    """One cell.

    Attributes:
        overrides: that make it.
        settings: the resolved config.
        method: name of the pruning config.
        status: of what lies in its folder.
        record: that lies there, if it can be read.
        after: names of the cells of this plan that it starts from or learns from.
        twins: other overrides that make the same cell.
    """

    overrides: tuple[str, ...]
    settings: Settings
    method: str
    status: Status
    record: RunRecord | None = None
    after: tuple[str, ...] = ()
    twins: tuple[tuple[str, ...], ...] = ()

    @property
    def name(self) -> str:
        """The run's place among all runs."""
        return self.settings["run_id"]

    @property
    def folder(self) -> Path:
        """Where its record goes."""
        return Path(os.path.relpath(self.settings["output_dir"]))

    @property
    def command(self) -> list[str]:
        """Arguments of its `tsdtp train`; what lies in its folder was looked at before."""
        return [*self.overrides, *([] if self.status is Status.MISSING else ["overwrite=true"])]

    @property
    def runs(self) -> bool:
        """Whether it has to run."""
        asked = self.status is Status.OTHER_CODE and self.settings["changed_code"] == "rerun"
        return self.status in _TO_RUN or asked or self.settings["overwrite"]

    @property
    def seconds(self) -> float | None:
        """That it took when it ran, in all its parts; None before, or for older records."""
        made = self.record.provenance if self.record else {}
        if made.get("seconds") is None:
            return None
        return sum(part["seconds"] for part in (*made.get("earlier", ()), made))

    def cell(self) -> dict[str, Any]:
        """What `sweep.json` says of it."""
        return cell_identity(self.settings, self.method)


def to_run(cells: Sequence[Planned]) -> list[Planned]:
    """The cells that have to run."""
    return [cell for cell in cells if cell.runs]


def is_dry(cells: Sequence[Planned]) -> bool:
    """Whether the cells are only to be listed."""
    return any(cell.settings["dry_run"] for cell in cells)


def check_agreed(cells: Sequence[Planned]) -> None:
    """Stops where nobody has agreed to what becomes of finished cells.

    Raises:
        ConfigError: where new ones of other settings would replace them, or of other code would be
            mixed with them; names what differs and the ways to go on.
    """
    if lost := [cell for cell in cells if cell.status is Status.CHANGED and not _agreed(cell)]:
        first = lost[0]
        have = counted(len(lost), "finished cell has", "finished cells have")
        raise ConfigError(
            f"{have} other settings or data, as {first.name}"
            f"{changed_from(first.record, first.settings)}: changed_settings=rerun replaces what "
            "is there, variant=NAME or another folder keeps both"
        )
    asking = [
        cell
        for cell in cells
        if cell.status is Status.OTHER_CODE
        and cell.settings["changed_code"] != "keep"
        and not cell.runs
    ]
    if asking:
        come = counted(len(asking), "finished cell comes", "finished cells come")
        raise ConfigError(other_code(asking[0].record, come))


def _agreed(cell: Planned) -> bool:
    return cell.settings["changed_settings"] == "rerun" or cell.settings["overwrite"]


def expected_seconds(cell: Planned, cells: Sequence[Planned]) -> float | None:
    """Median duration of the most similar cells that have run; None if there are none."""
    timed = [(other, other.seconds) for other in cells if other.seconds is not None]
    for key in (lambda c: (_group(c), c.method), _group):
        alike = [seconds for other, seconds in timed if key(other) == key(cell)]
        if alike:
            return statistics.median(alike)
    return None


def _group(cell: Planned) -> tuple[str, str]:
    return cell.settings["task"]["name"], cell.settings["model"]["name"]
