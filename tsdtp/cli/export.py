"""``tsdtp export run=FOLDER model.onnx``: a finished run's classifier as a program of its own."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

_SUFFIXES = (".pt2", ".onnx")


def main(argv: Sequence[str] | None = None) -> int:
    """Writes a `torch.export` program (.pt2) or an ONNX file (.onnx), for one text at a time.

    Args:
        argv: arguments after ``tsdtp export``; those of the process by default.

    Returns:
        0; 2 for a run or file that cannot be used.
    """
    parser = argparse.ArgumentParser(prog="tsdtp export", description=__doc__)
    parser.add_argument("run", metavar="run=FOLDER", help="a finished run or a saved model")
    parser.add_argument("file", type=Path, help="to write: .pt2 (torch.export) or .onnx")
    parser.add_argument("--max-length", type=int, help="in tokens; default: what the model takes")
    options = parser.parse_args(argv)
    try:
        _export(options.run.removeprefix("run="), options.file, options.max_length)
    except (ValueError, OSError, ImportError) as error:
        print(f"tsdtp export: {error}", file=sys.stderr)
        return 2
    return 0


def _export(run: str, file: Path, max_length: int | None) -> None:
    if file.suffix not in _SUFFIXES:
        raise ValueError(f"{file}: valid suffixes are {', '.join(_SUFFIXES)}")
    import torch

    from tsdtp.cli.run import quiet_libraries
    from tsdtp.models import from_pretrained
    from tsdtp.models.classifier import check_classifies
    from tsdtp.models.export import export, export_onnx

    quiet_libraries()
    model = check_classifies(from_pretrained(run, execution="packed"))
    temporary = file.with_name(f".{file.name}.tmp{file.suffix}")
    try:
        if file.suffix == ".onnx":
            export_onnx(model, temporary, max_length)
        else:
            torch.export.save(export(model, max_length), temporary)
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)
    print(f"{file}: input_ids and token_type_ids [1, tokens] -> logits, kept_layers")


if __name__ == "__main__":
    sys.exit(main())
