"""Folders that a pruned model is saved to and loaded from; they load as the plain model, too."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from tsdtp.models.hub import find_source, source_of
from tsdtp.models.loading import TOKENIZER, WEIGHTS, load_tokenizer, load_weights, save_weights
from tsdtp.models.prune import prune
from tsdtp.models.pruned import PrunedModel

CONFIG = "config.json"
VERSION = 1  # of the section `tsdtp` in config.json
TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "vocab.txt")  # one is always there
PICKLES = ("pytorch_model.bin", "model.pt", "model.pth", "model.ckpt")


def unprune(model: PrunedModel) -> PreTrainedModel:
    """The plain Hugging Face model inside, with the weights as they are now (shared, not copied).

    Example:
        >>> tsdtp.unprune(tsdtp.prune(plain)) is plain
        True
    """
    return model.hf_model


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
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, folder)
    save_config(model, folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder


def save_config(model: PrunedModel, folder: Path) -> None:
    """Writes `config.json`, and how a translator writes."""
    plain = model.hf_model
    config = type(plain.config).from_dict(plain.config.to_dict())
    config.architectures = [type(plain).__name__]
    config.dtype = plain.dtype  # else transformers takes that of some weight, strictness at worst
    config.tsdtp = {"version": VERSION, **describe(model)}
    temporary = folder / f".{CONFIG}.tmp"
    config.to_json_file(temporary, use_diff=False)
    os.replace(temporary, folder / CONFIG)
    if plain.can_generate() and plain.generation_config is not None:
        plain.generation_config.save_pretrained(folder)


def describe(model: PrunedModel) -> dict[str, Any]:
    """The arguments with which `prune` makes this model of the plain one."""
    pruner = model.pruner
    settings = {
        "method": type(pruner).__module__.rsplit(".", 1)[-1],
        "method_arguments": dict(pruner.arguments),
        "execution": model._execution,
        "special_ids": model.special_ids.tolist(),
        "auxiliary_weight": model.auxiliary_weight,
    }
    pooling = getattr(model, "pooling", None)
    return settings if pooling is None else {**settings, "pooling": pooling}


def from_pretrained(source: str | Path, execution: str | None = None) -> PrunedModel:
    """A pruned model, ready to predict, from a folder or the hub.

    Args:
        source: a folder that `save_pretrained` wrote or that holds a finished run of
            `tsdtp train`, or a hub id.
        execution: overrides the one saved, see `PrunedModel`.

    Raises:
        ValueError: it is not there, holds a plain model, another version's or pickled weights, or
            is damaged.
    """
    folder = _folder(str(source))
    config = AutoConfig.from_pretrained(folder)
    settings = _settings(config, folder)
    auto = _auto_class(config)
    del config.tsdtp  # pyright: ignore
    arguments = settings.pop("method_arguments")
    settings["execution"] = execution or settings.get("execution")
    if auto is not AutoModelForSequenceClassification:
        settings.pop("pooling", None)
    model = prune(auto.from_config(config).eval(), **settings, **arguments)
    load_weights(model, folder)
    return model.eval()


def _auto_class(config: PreTrainedConfig):
    """The class of transformers that makes a model of the saved one's kind."""
    if config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM
    writes = (config.architectures or [""])[0].endswith(("ForCausalLM", "LMHeadModel"))
    return AutoModelForCausalLM if writes else AutoModelForSequenceClassification


def _folder(source: str) -> Path:
    folder = Path(source)
    if not folder.is_dir():
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
            raise ValueError(f"{source}: no such folder, and no hub id (owner/name)")
        with source_of(source, None) as found:
            folder = Path(snapshot_download(found))
    if not (folder / CONFIG).is_file():
        raise ValueError(f"{folder}: no {CONFIG}; valid: a folder of save_pretrained, or a run's")
    if not (folder / WEIGHTS).is_file() and (
        pickles := [name for name in PICKLES if (folder / name).is_file()]
    ):
        raise ValueError(
            f"{folder}: {pickles[0]} may run code when it is loaded and is refused; "
            f"valid: {WEIGHTS}"
        )
    return folder


def _settings(config: PreTrainedConfig, folder: Path) -> dict[str, Any]:
    settings = getattr(config, "tsdtp", None)
    if not isinstance(settings, Mapping):
        raise ValueError(f"{folder}: a plain {config.model_type} model; tsdtp.prune() prunes it")
    settings = dict(settings)
    if (version := settings.pop("version", None)) != VERSION:
        raise ValueError(
            f"{folder}: written by another version of tsdtp ({version}, not {VERSION})"
        )
    return settings


def tokenizer_of(source: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer saved with a pruned model, from its folder or the hub.

    Raises:
        ValueError: there is none.
    """
    folder = Path(source)
    if (folder / TOKENIZER).is_dir():
        return load_tokenizer(str(folder / TOKENIZER))
    if folder.is_dir() and not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ValueError(f"{folder}: no tokenizer is saved there; save_pretrained takes one")
    return load_tokenizer(find_source(str(source), None))


def push_to_hub(
    model: PrunedModel,
    repository: str,
    folder: str | Path,
    tokenizer: PreTrainedTokenizerBase | None = None,
    card: str | None = None,
    api: HfApi | None = None,
) -> str:
    """Saves to a folder and uploads it to the Hugging Face hub.

    Args:
        model: any pruned model.
        repository: `owner/name`, made where it is missing.
        folder: where the files are kept here.
        tokenizer: goes with them.
        card: text of README.md, as `tsdtp.model_card` makes it from a record.
        api: of the hub; default: with the token that `hf auth login` stored.

    Returns:
        Its address.
    """
    folder, api = save_pretrained(model, folder, tokenizer), api or HfApi()
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")
    api.create_repo(repository, exist_ok=True)
    return str(api.upload_folder(repo_id=repository, folder_path=folder))
