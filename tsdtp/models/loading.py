"""Models and tokenizers: from the hub, from a folder, or tiny ones from a config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from tsdtp.models.classifier import PrunedClassifier

WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer"


def find_source(path: str, local_dir: str | None) -> str:
    """Where to load from: a folder if there is one, the hub id otherwise.

    Args:
        path: a hub id such as `org/name`, or a folder.
        local_dir: a folder that may hold `name`.
    """
    candidates = [Path(path)]
    if local_dir is not None:
        candidates.insert(0, Path(local_dir) / Path(path).name)
    return str(next((c for c in candidates if (c / "config.json").is_file()), path))


def load_config(
    path: str | None, config: Mapping | None, num_labels: int, local_dir: str | None = None
) -> PreTrainedConfig:
    """The architecture, without any weights.

    Raises:
        ValueError: if neither or both of path and config are given, or nothing is found.
    """
    if (path is None) == (config is None):
        raise ValueError("a model needs one of model.path (pretrained) and model.config (random)")
    if path is None:
        arguments = dict(config or {})
        return AutoConfig.for_model(arguments.pop("model_type"), num_labels=num_labels, **arguments)
    source = find_source(path, local_dir)
    try:
        return AutoConfig.from_pretrained(source, num_labels=num_labels)
    except OSError as error:
        tried = f"folder {local_dir or path} and the hub id {path}"
        raise ValueError(
            f"model.path={path}: nothing found (tried {tried}); set TSDTP_MODEL_DIR to a folder "
            f"that holds {Path(path).name}/, or allow network access"
        ) from error


def load_tokenizer(path: str, local_dir: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to a pretrained model."""
    return AutoTokenizer.from_pretrained(find_source(path, local_dir))


def load_model(
    path: str | None, config: PreTrainedConfig, local_dir: str | None = None
) -> PreTrainedModel:
    """A float32 classifier: pretrained weights under a new head, or random ones from the config."""
    logging.set_verbosity_error()  # it announces that the head is new, which it is meant to be
    if path is None:
        return AutoModelForSequenceClassification.from_config(config)
    source = find_source(path, local_dir)
    return AutoModelForSequenceClassification.from_pretrained(
        source, config=config, dtype=torch.float32
    )


def save_weights(model: PrunedClassifier, folder: Path) -> Path:
    """Writes all weights and the pruner's state atomically."""
    path, temporary = folder / WEIGHTS, folder / f".{WEIGHTS}.tmp"
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, temporary)
    return temporary.replace(path)


def load_weights(model: PrunedClassifier, folder: Path, strict: bool = True) -> None:
    """Loads what `save_weights` wrote; strict = False leaves the pruner as it is.

    Raises:
        ValueError: if the file is missing or belongs to another architecture.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ValueError(f"no {WEIGHTS} in {folder}: not a finished run")
    weights = load_file(path)
    if not strict:
        weights = {k: v for k, v in weights.items() if not k.startswith("pruner.")}
    try:
        result = model.load_state_dict(weights, strict=strict)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {type(model.hf_model).__name__}") from error
    if missing := [k for k in result.missing_keys if not k.startswith("pruner.")]:
        raise ValueError(f"{path} lacks {', '.join(missing[:3])}")
