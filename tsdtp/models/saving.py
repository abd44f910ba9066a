"""Folders that a pruned model is saved to; they load as the plain model, too."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from tsdtp.atomic import write_atomic
from tsdtp.models.weights import holds_pruner, save_weights
from tsdtp.models.wrapped import WrappedModel
from tsdtp.pruning import TokenPruner, find_method, name_of

if TYPE_CHECKING:
    from tsdtp.models.pruned import PrunedModel

CONFIG = "config.json"
TOKENIZER = "tokenizer"
VERSION = 2  # of the section `tsdtp` in config.json; 1 had `blocks` among the arguments of depth


def save_pretrained(
    model: PrunedModel, folder: str | Path, tokenizer: PreTrainedTokenizerBase | None = None
) -> Path:
    """Writes a folder for `from_pretrained`.

    It holds `config.json`, the plain model's with a section `tsdtp`, and `model.safetensors`, the
    plain model's weights and the pruner's. So the `AutoModel` classes of transformers load the
    plain, unpruned model from it.

    Args:
        model: any pruned model.
        folder: made where it is missing.
        tokenizer: written beside the model.

    Raises:
        OSError: it cannot be written; names the file.
        ValueError: the model is not pruned, or none could load it: it has weights that its config
            does not describe, its method would not be found again by its name, or an argument of
            the method is nothing that json can hold. The folder is as it was.
    """
    folder, model = Path(folder), cast("PrunedModel", WrappedModel.check(model))
    _check_described(model.hf_model)
    save_model(model, folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def _check_described(model: PreTrainedModel) -> None:
    with torch.device("meta"):
        described = type(model)(model.config).state_dict()
    shapes, found = (
        {k: tuple(v.shape) for k, v in w.items()} for w in (described, model.state_dict())
    )
    for name in sorted(shapes.keys() | found.keys()):
        if shapes.get(name) != found.get(name):
            raise ValueError(
                f"{name} is {found.get(name, 'missing')}, and by the config it is "
                f"{shapes.get(name, 'not there')}: no one could load this; valid: a config that "
                "says so (num_labels of a new head), adapters that are merged"
            )


def save_model(model: PrunedModel, folder: Path) -> None:
    """Writes the weights, `config.json`, and how a translator writes.

    Raises:
        OSError: they cannot be written; names the file.
        ValueError: its method could not be loaded again; nothing has been written.
    """
    config, plain = _config(model), model.hf_model
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, folder)
    write_atomic(folder / CONFIG, config.to_json_string(use_diff=False))
    if plain.can_generate() and plain.generation_config is not None:
        plain.generation_config.save_pretrained(folder)


def _config(model: PrunedModel) -> PreTrainedConfig:
    """The plain model's, with a section `tsdtp` as it will be read again."""
    plain = model.hf_model
    config = type(plain.config).from_dict(plain.config.to_dict())
    config.architectures = [type(plain).__name__]
    config._name_or_path = ""  # a folder of whoever saves it, as like as not
    config.dtype = plain.dtype  # else transformers takes that of some weight, strictness at worst
    settings = {"version": VERSION, **describe(model)}
    config.tsdtp = json.loads(json.dumps(settings, default=_of_numpy))
    return config


def _of_numpy(value: Any) -> Any:
    """NumPy's numbers and arrays as Python's, which json knows."""
    if not hasattr(value, "tolist"):
        raise ValueError(f"{value!r}: an argument of a method that cannot be written to {CONFIG}")
    return value.tolist()


def describe(model: PrunedModel) -> dict[str, Any]:
    """The arguments with which `prune` makes this model, and how far its pruner has learnt."""
    pruner = model.pruner
    settings = {
        "method": _findable(type(pruner)),
        "method_arguments": dict(pruner.arguments),
        "execution": model._execution,
        "special_ids": model.special_ids.tolist(),
        "auxiliary_weight": model.auxiliary_weight,
        "blocks": pruner.num_layers,
        "frozen": not pruner.trainable and any(True for _ in pruner.parameters()),
        "progress": pruner.progress,
    }
    pooling = getattr(model, "pooling", None)
    return settings if pooling is None else {**settings, "pooling": pooling}


def _findable(method: type[TokenPruner]) -> str:
    """The name of a method; raises ValueError where it would not be found again by it."""
    with contextlib.suppress(ValueError):
        if find_method(name := name_of(method)) is method:
            return name
    raise ValueError(
        f"{method.__qualname__} of {method.__module__} would not be found again by its name; "
        "valid: a method at the top level of a module, in tsdtp.pruning the first of its file"
    )


def saved_blocks(folder: Path) -> int | None:
    """How many blocks a saved model computes; None: all, or no pruned model lies there."""
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8")).get("tsdtp")
        return settings.get("blocks") if settings and holds_pruner(folder) else None
    except (OSError, ValueError):
        return None
