"""A run's folder: whether a finished run lies there, and whether another process is at work."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from tsdtp.atomic import write_atomic
from tsdtp.cli.config import BEGUN_WITH, ConfigError
from tsdtp.cli.identity import Settings, Status, changed_from, inspect_run
from tsdtp.cli.other_code import other_code
from tsdtp.provenance import code_digest, code_state
from tsdtp.results import RECORD_NAME, RunRecord

LOCK_NAME = ".run.lock"
PREVIOUS_NAME = "metrics.previous.json"

# What is asked about finished runs that are not quite this one.
_ASKED = {Status.CHANGED: "changed_settings", Status.OTHER_CODE: "changed_code"}
_REFUSED = {
    Status.CHANGED: "holds a run with other settings or data",
    Status.RESTARTED: "holds a run whose start or teachers have been run again since",
    Status.DAMAGED: f"holds a damaged record ({RECORD_NAME} cannot be read)",
}


def finished(settings: Settings) -> RunRecord | None:
    """The record that already lies in the run's folder, if it is of this very run.

    Raises:
        ConfigError: if something else lies there, or it is of other code; and in a dry run.
    """
    folder = settings["output_dir"]
    if settings["overwrite"] and settings["dry_run"]:
        raise ConfigError(f"dry run: {folder} is to run")
    if settings["overwrite"]:
        return None
    status, record = inspect_run(settings, code_state())
    again = status in _ASKED and settings[_ASKED[status]] == "rerun"
    if status in _REFUSED and not again:
        which = changed_from(record, settings) if status is Status.CHANGED else ""
        raise ConfigError(
            f"{folder} {_REFUSED[status]}{which}; overwrite=true replaces it, "
            "variant=NAME keeps both"
        )
    if status is Status.OTHER_CODE and settings["changed_code"] == "ask":
        raise ConfigError(other_code(record, f"the run in {folder} comes"))
    if again:
        record = None
    if settings["dry_run"]:
        raise ConfigError(f"dry run: {folder} is {'done' if record else 'to run'}")
    if record:
        print(f"{folder}: done; overwrite=true runs it again", flush=True)
    return record


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Keeps other processes out of a run's folder.

    Raises:
        ConfigError: if one is at work there, or if the code is not what the sweep began with.
    """
    begun_with = os.environ.get(BEGUN_WITH)
    if begun_with and begun_with != code_digest():
        raise ConfigError("the source of tsdtp has changed since this sweep began; start it again")
    busy = f"another process is at work in {folder}; wait for it"
    with take_lock(folder / LOCK_NAME, busy):
        yield


def check_idle(folders: Iterable[Path]) -> None:
    """Says so before anything is written where another process is at work in one of the folders.

    Raises:
        ConfigError: for the first of them.
    """
    for folder in folders:
        if (folder / LOCK_NAME).is_file():
            with exclusive(folder):
                pass


def take_lock(path: Path, busy: str) -> AcquireReturnProxy:
    """Takes a lock; it ends with the context that it is used as, or with the process.

    Args:
        path: of its file.
        busy: what to say if somebody else has it.

    Raises:
        ConfigError: if somebody else has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(path).acquire(timeout=0)
    except Timeout:
        raise ConfigError(busy) from None


def put_aside(folder: Path) -> None:
    """Moves an old record to where no report looks: none may outlive the weights it tells of."""
    if (folder / RECORD_NAME).is_file():
        os.replace(folder / RECORD_NAME, folder / PREVIOUS_NAME)


def copy_aside(folder: Path) -> None:
    """Keeps an old record beside the one that is to replace it."""
    if (folder / RECORD_NAME).is_file():
        write_atomic(folder / PREVIOUS_NAME, (folder / RECORD_NAME).read_bytes())
