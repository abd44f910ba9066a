"""The `tsdtp` program: one word chooses the command, the rest is the command's own."""

from __future__ import annotations

import signal
import sys
from importlib import import_module
from typing import NoReturn

from tsdtp import __version__
from tsdtp.cli.garbage import gc_rarely
from tsdtp.cli.output import ending_with_reader

COMMANDS = {
    "train": "train a model with a pruning method and measure it (-m: a Hydra multirun)",
    "eval": "measure a finished run again, on this machine",
    "predict": "classify texts with a finished run, and see what it reads",
    "export": "a finished run's classifier as an ONNX file or a torch.export program",
    "bench": "speed and memory of a method, trained or not (-m: of many)",
    "sweep": "run every cell of a sweep and print its tables",
    "tune": "search settings for quality against cost",
    "report": "tables from all records under a folder",
    "completion": "a script that completes commands and settings in bash or zsh",
    "validate": "check every config, without running anything",
}


@ending_with_reader()
def main() -> None:
    """Runs `tsdtp COMMAND ...` as `python -m tsdtp.cli.COMMAND ...` would."""
    command = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if command in ("-h", "--help"):
        print(_usage())
        return
    if command == "--version":
        print(f"tsdtp {__version__}")
        return
    if command not in COMMANDS:
        print(f"tsdtp: no such command: {command}; valid: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    del sys.argv[1]
    gc_rarely()
    try:
        _run(command)
    except KeyboardInterrupt:
        print(f"tsdtp {command}: interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)  # as shells have it


def _run(command: str) -> NoReturn:
    module = import_module(f"tsdtp.cli.{command}")
    # What Lightning runs again for each further process is this module with these arguments.
    sys.modules["__main__"].__spec__ = module.__spec__
    sys.exit(module.main())


def _usage() -> str:
    lines = [f"  {name:12}{what}" for name, what in COMMANDS.items()]
    return "\n".join(["usage: tsdtp COMMAND [ARGUMENTS]", "       tsdtp --version", "", *lines])
