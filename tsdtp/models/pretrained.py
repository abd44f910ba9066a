"""Saved pruned models again: from a folder or the hub, and to it."""

from __future__ import annotations

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
    GenerationConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import GENERATION_CONFIG_NAME

from tsdtp.models.hub import hub_answers, source_of
from tsdtp.models.loading import load_tokenizer
from tsdtp.models.prune import prune
from tsdtp.models.pruned import PrunedModel
from tsdtp.models.saving import CONFIG, TOKENIZER, VERSION, save_pretrained
from tsdtp.models.weights import WEIGHTS, holds_pruner, load_weights

TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json", "vocab.txt")  # one is always there
PICKLES = ("pytorch_model.bin", "model.pt", "model.pth", "model.ckpt")


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
    with source_of(str(folder), None):
        config = AutoConfig.from_pretrained(folder)
    settings = _settings(config, folder)
    del config.tsdtp  # pyright: ignore
    plain = _plain(config, folder)
    arguments = settings.pop("method_arguments")
    frozen, progress = settings.pop("frozen", False), settings.pop("progress", 0.0)
    settings["execution"] = execution or settings.get("execution")
    if plain.can_generate():
        settings.pop("pooling", None)
    model = prune(plain, **settings, **arguments)
    load_weights(model, folder, typed=True)  # T5 has some in float32, whatever the others are
    model.pruner.requires_grad_(not frozen).progress = progress
    return model.eval()


def _plain(config: PreTrainedConfig, folder: Path) -> PreTrainedModel:
    """The plain model, of random weights, in evaluation mode; writes as the saved one did."""
    plain = _auto_class(config).from_config(config).eval()
    if plain.can_generate() and (folder / GENERATION_CONFIG_NAME).is_file():
        plain.generation_config = GenerationConfig.from_pretrained(folder)
    return plain


def _auto_class(config: PreTrainedConfig):
    """The class of transformers that makes a model of the saved one's kind."""
    if config.is_encoder_decoder:
        return AutoModelForSeq2SeqLM
    writes = (config.architectures or [""])[0].endswith(("ForCausalLM", "LMHeadModel"))
    return AutoModelForCausalLM if writes else AutoModelForSequenceClassification


def _folder(source: str) -> Path:
    folder = _local(source)
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


def _local(source: str) -> Path:
    """The folder of that name; or the hub's copy here, brought up to date where the hub answers."""
    if (folder := Path(source)).is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise ValueError(f"{source}: no such folder, and no hub id (owner/name)")
    answers = hub_answers()
    try:
        return Path(snapshot_download(source, local_files_only=not answers))
    except OSError as error:
        why = "it has none of that name" if answers else "it cannot be reached, and none is cached"
        raise ValueError(f"{source}: no such folder, nor found on the hub ({why})") from error


def _settings(config: PreTrainedConfig, folder: Path) -> dict[str, Any]:
    settings = getattr(config, "tsdtp", None)
    if not isinstance(settings, Mapping) or not holds_pruner(folder):
        raise ValueError(f"{folder}: a plain {config.model_type} model; tsdtp.prune() prunes it")
    settings = dict(settings)
    version = settings.pop("version", None)
    if version not in (1, VERSION):
        raise ValueError(
            f"{folder}: written by another version of tsdtp ({version}, not {VERSION})"
        )
    if not isinstance(arguments := settings.get("method_arguments"), dict):
        raise ValueError(f"{folder}/{CONFIG} is damaged: tsdtp.method_arguments is missing")
    if version == 1:
        arguments.pop("blocks", None)  # of depth, whose strictness says as much
    return settings


def tokenizer_of(source: str | Path) -> PreTrainedTokenizerBase:
    """The tokenizer saved with a pruned model, from its folder or the hub.

    Raises:
        ValueError: there is none.
    """
    folder = _local(str(source))
    if (folder / TOKENIZER).is_dir():
        return load_tokenizer(str(folder / TOKENIZER))
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise ValueError(f"{folder}: no tokenizer is saved there; save_pretrained takes one")
    return load_tokenizer(str(folder))


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
        card: text of README.md.
        api: of the hub; default: with the token that `hf auth login` stored.

    Returns:
        Its address.

    Raises:
        ValueError, OSError: as `save_pretrained`, before anything is uploaded.
        huggingface_hub.errors.HfHubHTTPError: what the hub refuses.
    """
    folder, api = save_pretrained(model, folder, tokenizer), api or HfApi()
    if card is not None:
        (folder / "README.md").write_text(card, encoding="utf-8")
    api.create_repo(repository, exist_ok=True)
    return str(api.upload_folder(repo_id=repository, folder_path=folder))
