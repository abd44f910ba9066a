"""Checkpoints that survive a crash: whole or not there, and the one before is kept."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from tsdtp.atomic import write_atomic


def previous_of(path: Path) -> Path:
    """Where the checkpoint goes that `path` replaces."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def last_checkpoints(folder: str | Path) -> list[Path]:
    """Where a run has its last one, as configs/callbacks says, and the one before it."""
    last = Path(folder) / "checkpoints" / "last.ckpt"
    return [last, previous_of(last)]


def save_atomic(content: Any, path: str | Path) -> Path:
    """`torch.save` into a temporary file, then a rename."""
    # In memory first: written by torch itself, a full disk is a RuntimeError about a position.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return write_atomic(path, buffer.getvalue())


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """What a file holds, its tensors left on the disk until they are read."""
    return torch.load(path, map_location="cpu", weights_only=True, mmap=True)


def damage(path: Path) -> str | None:
    """Why a file is no checkpoint that training can go on from, in a few words; None if it is."""
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at the check sums
            if (part := archive.testzip()) is not None:
                return f"wrong check sum in {part}"
        content = load_checkpoint(path)
    except (OSError, zipfile.BadZipFile, RuntimeError, UnpicklingError) as error:
        return str(error).strip().partition("\n")[0].partition(". ")[0] or type(error).__name__
    known = isinstance(content, dict) and {"state_dict", "loops"} <= content.keys()
    return None if known else "not a training checkpoint"


class RotatingCheckpoints(TorchCheckpointIO):
    """Writes beside the target and renames; what lay there stays as `<name>.previous.ckpt`.

    Lightning's own writes into the system's temporary folder, whence a move to another file system
    is a copy, and replaces the only checkpoint by it.
    """

    def save_checkpoint(self, checkpoint: dict, path, storage_options: Any = None) -> None:
        """Saves a checkpoint; at every moment it or the one before lies there whole."""
        path = Path(path)
        for left in path.parent.glob(f"..{path.name}.new.*.tmp"):  # by a process that was killed
            left.unlink()
        new = save_atomic(checkpoint, path.with_name(f".{path.name}.new"))
        if path.is_file():
            path.replace(previous_of(path))
        new.replace(path)
