"""The stage before training, for methods that learn from a teacher's attributions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tsdtp.atomic import write_atomic
from tsdtp.cli import measure
from tsdtp.cli.build import Cell
from tsdtp.jobs.progress import enter_stage
from tsdtp.models import PrunedModel, teach
from tsdtp.models.teaching import attributions
from tsdtp.models.texts import Batch
from tsdtp.models.weights import WEIGHTS
from tsdtp.provenance import code_digest, file_digest
from tsdtp.results import RECORD_NAME

FOLDER = "attributions"  # beside the teacher: the same for every budget and variant
_UNTAUGHT = (
    "no model.init_from, so no teacher: the task attention learns from the loss alone; "
    "valid: a folder, or unpruned for the run beside this one"
)


def to_be_taught(cell: Cell) -> bool:
    """Whether the method learns from a teacher's attributions before training."""
    settings = cell.config.teaching
    return bool(cell.pruner.needs_target and settings.examples and settings.epochs)


def teach_pruner(cell: Cell, model: PrunedModel, teacher: PrunedModel | None) -> None:
    """Teaches the task attention, where there is a teacher, and says how well it was learnt."""
    if teacher is None:
        print(_UNTAUGHT, flush=True)
        return
    settings = cell.config.teaching
    enter_stage(cell.config.output_dir, "teaching")
    half = str(cell.config.hardware.precision).startswith("bf16")  # Lightning takes 32, too
    batches = measure.training_batches(
        cell, settings.examples, cell.device, batch_size=settings.batch_size
    )
    model, teacher = model.to(cell.device), teacher.to(cell.device)
    with torch.autocast(cell.device.type, torch.bfloat16, enabled=half):
        losses = teach(
            model,
            batches,
            targets=attributions_of(cell, model, teacher, batches),
            epochs=settings.epochs,
            lr=settings.lr,
            seed=cell.config.seed,
        )
    print(f"teaching: auxiliary loss {losses[0]:.3f} to {losses[-1]:.3f}", flush=True)


def attributions_of(
    cell: Cell, model: PrunedModel, teacher: PrunedModel, batches: Sequence[Batch]
) -> list[Tensor]:
    """The attributions of batches, see `tsdtp.models.teaching.attributions`; read where kept.

    They lie in the folder of the run that the teacher comes from, named after all that they depend
    on: its weights and what it reads, the batches, the blocks, precision, device and code. A folder
    that holds no run, a pretrained model of a user say, is left as it is; and where they cannot be
    read or written they are computed.
    """
    steps, folder = cell.config.teacher.attribution_steps, cell.start
    if folder is None or not (folder / RECORD_NAME).is_file():
        return attributions(model, batches, teacher, mask_id=cell.mask_id, steps=steps)
    depth = teacher.pruner.depth
    how = [cell.config.hardware.precision, cell.device.type, teacher.read, depth]
    settings = [cell.mask_id, steps, model.pruner.layers, *how]
    path = folder / FOLDER / f"{_digest(folder / WEIGHTS, batches, settings)}.safetensors"
    with suppress(OSError, SafetensorError, KeyError):
        kept = load(path.read_bytes())
        return [kept[f"{i}"].to(cell.device) for i in range(len(batches))]
    found = attributions(model, batches, teacher, mask_id=cell.mask_id, steps=steps)
    try:
        write_atomic(path, save({f"{i}": one.cpu() for i, one in enumerate(found)}))
    except OSError as error:
        print(f"attributions are not kept: {error}", flush=True)
    return found


def _digest(weights: Path, batches: Sequence[Batch], settings: list) -> str:
    made = [file_digest(weights), *settings, code_digest(), torch.__version__]
    digest = hashlib.sha256(json.dumps(made).encode())
    for batch in batches:
        for name, tensor in sorted(batch.items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:32]
