"""Models and tokenizers: from the hub, from a folder, or tiny ones from a config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
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
from tsdtp.models.hub import source_of

WEIGHTS = "weights.safetensors"
TOKENIZER = "tokenizer"


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
    with source_of(path, local_dir) as source:
        return AutoConfig.from_pretrained(source, num_labels=num_labels)


def load_tokenizer(path: str, local_dir: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to a pretrained model.

    Raises:
        ValueError: it is not found or damaged.
    """
    with source_of(path, local_dir) as source:
        return AutoTokenizer.from_pretrained(source)


def load_model(
    path: str | None, config: PreTrainedConfig, local_dir: str | None = None
) -> PreTrainedModel:
    """A float32 classifier: pretrained weights under a new head, or random ones from the config.

    Raises:
        ValueError: the pretrained weights are not found or damaged.
    """
    logging.set_verbosity_error()  # it announces that the head is new, which it is meant to be
    if path is None:
        return AutoModelForSequenceClassification.from_config(config)
    with source_of(path, local_dir) as source:
        return AutoModelForSequenceClassification.from_pretrained(
            source, config=config, dtype=torch.float32
        )


def save_weights(model: PrunedClassifier, folder: Path) -> Path:
    """Writes all weights and the pruner's state atomically.

    Raises:
        OSError: they cannot be written, for example to a full disk; names the file.
    """
    path, temporary = folder / WEIGHTS, folder / f".{WEIGHTS}.tmp"
    try:
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, temporary)
        return temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise OSError(f"cannot write {path}: {error}") from error


def check_weights(folder: Path) -> Path:
    """The file that `save_weights` wrote there, if it is whole; its header alone is read.

    Raises:
        ValueError: it is missing, truncated or something else.
    """
    path = folder / WEIGHTS
    if not path.is_file():
        raise ValueError(f"no {WEIGHTS} in {folder}: not a finished run")
    try:
        with safe_open(path, "pt"):
            return path
    except (OSError, ValueError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged ({error}); run it again") from error


def load_weights(model: PrunedClassifier, folder: Path, strict: bool = True) -> None:
    """Loads what `save_weights` wrote; strict = False leaves the pruner as it is.

    Raises:
        ValueError: if the file is missing, damaged or belongs to another architecture.
    """
    path = check_weights(folder)
    weights = load_file(path)
    if not strict:
        weights = {k: v for k, v in weights.items() if not k.startswith("pruner.")}
    try:
        result = model.load_state_dict(weights, strict=strict)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {type(model.hf_model).__name__}") from error
    if missing := [k for k in result.missing_keys if not k.startswith("pruner.")]:
        raise ValueError(f"{path} lacks {', '.join(missing[:3])}")
