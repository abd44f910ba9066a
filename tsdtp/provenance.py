"""Which code made a result, and when; needs neither torch nor git."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
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


def with_own(code: dict[str, Any], config: Any) -> dict[str, Any]:
    """A `code_state` whose digest includes the user's own modules that `_target_`s name.

    Args:
        code: of this package.
        config: whose `_target_`s name what it builds, at any depth.

    Returns:
        the same, with the Python files of those that are neither of this package nor installed.
    """
    files = [path for name in sorted(set(_modules(config))) for path in _own_files(name)]
    if not files:
        return code
    digest = hashlib.sha256(str(code["code"]).encode())
    for path in files:
        digest.update(path.name.encode() + path.read_bytes())
    return code | {"code": digest.hexdigest()[:12]}


def _modules(config: Any) -> Iterator[str]:
    """The top-level modules that a config names."""
    if isinstance(config, Mapping):
        if isinstance(target := config.get("_target_"), str):
            yield target.partition(".")[0]
        config = list(config.values())
    if isinstance(config, list):
        for item in config:
            yield from _modules(item)


def _own_files(module: str) -> list[Path]:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        spec = None
    if spec is None or module == PACKAGE.name:
        return []
    of_package = spec.submodule_search_locations
    places = of_package or ([spec.origin] if spec.has_location and spec.origin else [])
    installed = [Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")]
    own = [p for p in map(Path, places) if not any(map(p.is_relative_to, installed))]
    return [file for p in own for file in (sorted(p.rglob("*.py")) if of_package else [p])]


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
