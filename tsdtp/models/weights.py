"""The file of a pruned model's weights: written whole or not at all, tied weights once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tsdtp.atomic import replacing

if TYPE_CHECKING:
    from tsdtp.models.pruned import PrunedModel

WEIGHTS = "model.safetensors"


def save_weights(model: PrunedModel, folder: Path) -> Path:
    """Writes all weights (tied ones once) and the pruner's state atomically.

    Raises:
        OSError: they cannot be written, for example to a full disk; names the file.
    """
    path, again = folder / WEIGHTS, tied(model)
    weights = {k: v.contiguous() for k, v in model.state_dict().items() if k not in again}
    try:
        with replacing(path) as temporary:
            save_file(weights, temporary, {"format": "pt", **again})
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error
    return path


def check_weights(folder: Path) -> dict[str, str]:
    """The header of what `save_weights` wrote there: the rest of the file is not read.

    Returns:
        By each name that the file left out, the one under which the same weights are in it.

    Raises:
        ValueError: it is missing, truncated or something else.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ValueError(f"no {WEIGHTS} in {folder}: not a finished run")
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged ({error}); run it again") from error


def holds_pruner(folder: Path) -> bool:
    """Whether the weights there are a pruned model's: a plain one saved again has no pruner.

    Its config still speaks of one, as transformers keeps what it does not know.

    Raises:
        ValueError: see `check_weights`.
    """
    check_weights(folder)
    with safe_open(folder / WEIGHTS, "pt") as file:
        names = file.keys()
    return any(name.startswith("pruner.") for name in names)


def load_weights(
    model: PrunedModel, folder: Path, strict: bool = True, typed: bool = False
) -> None:
    """Loads what `save_weights` wrote.

    Args:
        model: to load it into.
        folder: where the file is.
        strict: False leaves the pruner as it is.
        typed: gives each weight the type that it has in the file; else each keeps its own.

    Raises:
        ValueError: if the file is missing, damaged or belongs to another architecture.
    """
    path, ties, left_out = folder / WEIGHTS, tied(model), check_weights(folder)
    weights = load_file(path)
    for name, first in (ties | left_out).items():
        if name not in weights and first in weights:
            weights[name] = weights[first]
    _untie(model, ties, weights)
    if not strict:
        weights = {k: v for k, v in weights.items() if not k.startswith("pruner.")}
    if typed:
        for name, weight in model.named_parameters():
            weight.data = weight.data.to(weights.get(name, weight).dtype)
    try:
        result = model.load_state_dict(weights, strict=strict)
    except RuntimeError as error:
        method = type(model.pruner).__name__
        raise ValueError(
            f"{path} does not fit {type(model.hf_model).__name__} with {method}: "
            f"{str(error).splitlines()[-1].strip()}"
        ) from error
    made = model.hf_model._keys_to_ignore_on_save or ()  # by a formula: Marian's positions
    missing = [k for k in result.missing_keys if not k.startswith("pruner.") and k not in made]
    if missing:
        raise ValueError(f"{path} {_lacks(missing, weights, model.hf_model.base_model_prefix)}")


def _lacks(missing: list[str], weights: dict[str, Tensor], prefix: str) -> str:
    """What a file without these weights holds instead of a model."""
    bare = any(name.partition(".")[2] in weights for name in missing)
    body = [k for k in missing if k.startswith(f"{prefix}.") and ".pooler." not in k]
    if body and not bare:
        return f"lacks {', '.join(missing[:3])}"
    return (
        f"holds {'an encoder' if bare else 'a model'} without this head ({missing[0]}); valid: a "
        "fine-tuned model, or model.init_from=null, which puts a new head on it"
    )


def tied(model: PrunedModel) -> dict[str, str]:
    """By the name of each weight that is another one's under a second name: the first name."""
    first: dict[tuple, str] = {}
    names = {}
    for name, weight in model.state_dict().items():
        known = first.setdefault((weight.data_ptr(), weight.shape), name)
        if known != name and weight.numel():
            names[name] = known
    return names


def _untie(model: PrunedModel, ties: dict[str, str], weights: dict[str, Tensor]) -> None:
    """Gives weights of their own to names that are tied in the model and not in the file."""
    for name in ties.keys() & weights.keys():
        if ties[name] in weights and not torch.equal(weights[name], weights[ties[name]]):
            place, _, leaf = name.rpartition(".")
            module = model.get_submodule(place)
            shared: nn.Parameter = getattr(module, leaf)
            setattr(module, leaf, nn.Parameter(shared.detach().clone(), shared.requires_grad))
