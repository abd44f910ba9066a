"""``tsdtp export run=FOLDER model.onnx``: a finished run's classifier as a program of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from tsdtp.cli.config import missing_extra
from tsdtp.cli.signals import terminate_as_interrupt

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
    except ModuleNotFoundError as error:
        print(f"tsdtp export: {missing_extra(str(error.name), 'onnx')}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"tsdtp export: {error}", file=sys.stderr)
        return 2
    return 0


def _export(run: str, file: Path, max_length: int | None) -> None:
    if file.suffix not in _SUFFIXES:
        raise ValueError(f"{file}: valid suffixes are {', '.join(_SUFFIXES)}")
    import torch

    from tsdtp.cli.run import quiet_libraries
    from tsdtp.models import from_pretrained
    from tsdtp.models.export import export, export_onnx, program_inputs

    quiet_libraries()
    model = from_pretrained(run, execution="packed")
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        terminate_as_interrupt(),
        TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder,
    ):
        written = Path(folder) / file.name  # large ONNX files name a second one after themselves
        if file.suffix == ".onnx":
            export_onnx(model, written, max_length)
        else:
            content = BytesIO()  # torch's own writer aborts where the disk is full
            torch.export.save(export(model, max_length), content)
            written.write_bytes(content.getbuffer())
        for part in sorted(written.parent.iterdir(), key=written.__eq__):  # the named one last
            part.replace(file.with_name(part.name))
    print(f"{file}: {' and '.join(program_inputs(model))} [1, tokens] -> logits, kept_layers")


if __name__ == "__main__":
    sys.exit(main())
