"""Which code made a result, and when; needs neither torch nor git."""

from __future__ import annotations

import hashlib
import os
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent


def code_state(folder: str | Path = PACKAGE) -> dict[str, str | bool | None]:
    """The version of the source in `folder` (default: this package).

    Returns:
        commit: 40 hex digits; dirty: whether the work tree has changes or untracked files. Both
        None without git, outside a repository, or where the repository merely surrounds the
        folder without tracking it (a package installed into some project's virtual environment).
        code: see `code_digest`.
    """
    try:
        tracked = _git(folder, "ls-files", "--", ".")
        commit = _git(folder, "rev-parse", "HEAD") if tracked else None
        dirty = bool(_git(folder, "status", "--porcelain")) if tracked else None
    except (OSError, ValueError, subprocess.SubprocessError):
        commit = dirty = None
    return {"commit": commit, "dirty": dirty, "code": code_digest(folder)}


def code_digest(folder: str | Path = PACKAGE) -> str:
    """Twelve hexadecimal digits that name the Python source under a folder, committed or not."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def file_digest(path: Path) -> str:
    """Twelve hexadecimal digits that name what a file holds; read once, unless it has changed."""
    state = path.stat()
    return _read_digest(path, state.st_mtime_ns, state.st_size)


@cache
def _read_digest(path: Path, changed: int, size: int) -> str:
    with open(path, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:12]


def same_code(made: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether two code states are one; records from before `code` was kept go by their commit."""
    key = "code" if made.get("code") else "commit"
    return made.get(key) == now[key]


def now() -> str:
    """Date and time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(folder: str | Path, *arguments: str) -> str:
    # Inside a git hook GIT_DIR and the like name another repository than the folder's.
    variables = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    finished = subprocess.run(command, env=variables, capture_output=True, check=True, timeout=30)
    return finished.stdout.decode(errors="replace").strip()
