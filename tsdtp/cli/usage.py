"""What commands say to whoever asks for help, or gave them what they cannot take."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException

from tsdtp.cli.config import config_dir


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help, wherever it does so."""
    return any(argument in ("-h", "--help") for argument in arguments)


def described(group: str) -> str:
    """The presets of a config group, a line each: the name, and how its file begins."""
    files = sorted((Path(config_dir()) / group).glob("*.yaml"))
    width = max((len(file.stem) for file in files), default=0)
    return "\n".join(f"  {file.stem:{width}} {_first_sentence(file)}" for file in files)


def end_job(error: Exception, program: str) -> NoReturn:
    """Ends a job with one line; of a multirun the others go on, and Hydra tells it at the end."""
    mode = HydraConfig.get().mode
    if mode is not None and mode.name == "MULTIRUN":
        raise CompactHydraException(f"{program}: {error}") from error
    exit_with(error, program)


def exit_with(error: Exception, program: str) -> NoReturn:
    """Ends the process with one line and code 2."""
    print(f"{program}: {error}", file=sys.stderr)
    sys.exit(2)


def _first_sentence(file: Path) -> str:
    comments: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comments.append(line.lstrip("# "))
    return " ".join(comments).split(". ")[0].split("; ")[0].rstrip(".")
