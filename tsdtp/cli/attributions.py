"""The teacher's attributions, kept beside the teacher: the same for every budget and variant."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from tsdtp.cli.build import Cell
from tsdtp.models import PrunedModel
from tsdtp.models.saving import WEIGHTS
from tsdtp.models.teaching import attributions
from tsdtp.models.texts import Batch
from tsdtp.provenance import code_digest
from tsdtp.results import RECORD_NAME, write_atomic

FOLDER = "attributions"


def attributions_of(
    cell: Cell, model: PrunedModel, teacher: PrunedModel, batches: Sequence[Batch]
) -> list[Tensor]:
    """The attributions of batches, see `tsdtp.models.teaching.attributions`; read where kept.

    They lie in the folder of the run that the teacher comes from, named after all that they depend
    on: its weights, the batches, the blocks, the precision and the code. A folder that holds no
    run, a pretrained model of a user say, is left as it is.
    """
    steps, folder = cell.config.teacher.attribution_steps, cell.start
    if folder is None or not (folder / RECORD_NAME).is_file():
        return attributions(model, batches, teacher, mask_id=cell.mask_id, steps=steps)
    settings = [cell.mask_id, steps, model.pruner.layers, cell.config.hardware.precision]
    path = folder / FOLDER / f"{_digest(folder / WEIGHTS, batches, settings)}.safetensors"
    if path.is_file():
        kept = load(path.read_bytes())
        return [kept[f"{i}"].to(cell.device) for i in range(len(batches))]
    found = attributions(model, batches, teacher, mask_id=cell.mask_id, steps=steps)
    write_atomic(path, save({f"{i}": one.cpu() for i, one in enumerate(found)}))
    return found


def _digest(weights: Path, batches: Sequence[Batch], settings: list) -> str:
    with open(weights, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    digest.update(json.dumps([*settings, code_digest(), torch.__version__]).encode())
    for batch in batches:
        for name, tensor in sorted(batch.items()):
            digest.update(f"{name}{tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:32]
