"""Models and tokenizers: from the hub, from a folder, or tiny ones from a config."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from tsdtp.models.hub import source_of
from tsdtp.models.problem import ONE_CLASS


def load_config(
    path: str | None, config: Mapping | None, num_labels: int | None, local_dir: str | None = None
) -> PreTrainedConfig:
    """The architecture, without any weights.

    Args:
        path: a hub id or a folder, or None.
        config: a config with `model_type`, or None.
        num_labels: classes; None for a model that does not classify.
        local_dir: a folder that may hold the model.

    Raises:
        ValueError: if neither or both of path and config are given, nothing is found, or what is
            found is to choose one class and does not.
    """
    if (path is None) == (config is None):
        raise ValueError("a model needs one of model.path (pretrained) and model.config (random)")
    head = {} if num_labels is None else {"num_labels": num_labels}
    if path is None:
        arguments = {**(config or {}), **head}
        found = AutoConfig.for_model(arguments.pop("model_type"), **arguments)
    else:
        with source_of(path, local_dir) as source:
            found = AutoConfig.from_pretrained(source, **head)
    if num_labels is not None and found.problem_type not in (None, ONE_CLASS):
        raise ValueError(
            f"{path or 'model.config'}: problem_type={found.problem_type}; valid for a task of "
            f"classes: {ONE_CLASS} (tsdtp.prune() takes such a model)"
        )
    return found


def set_dropout(config: PreTrainedConfig, probability: float) -> None:
    """Sets every dropout of an architecture, whatever its family calls it."""
    for name, value in list(vars(config).items()):
        if ("dropout" in name or "pdrop" in name) and isinstance(value, int | float):
            setattr(config, name, float(probability))


def load_tokenizer(path: str, local_dir: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer that belongs to a pretrained model.

    Raises:
        ValueError: it is not found or damaged, knows no words, or needs a package that is not
            installed.
    """
    with source_of(path, local_dir) as source:
        try:
            tokenizer = AutoTokenizer.from_pretrained(source)
        except ImportError as error:
            needed = " ".join(str(error).split()).partition(".")[0]
            raise ValueError(f"cannot load the tokenizer of {path}: {needed}") from error
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):  # made up for want of files
        raise ValueError(
            f"no tokenizer is saved in {path}; valid: tokenizer.save_pretrained beside the model"
        )
    return tokenizer


def load_model(
    path: str | None, config: PreTrainedConfig, local_dir: str | None = None
) -> PreTrainedModel:
    """A float32 model: pretrained weights, a classifier's under a new head, or random ones.

    An encoder-decoder's config gives a model that writes; any other's gives a classifier.

    Raises:
        ValueError: the pretrained weights are not found or damaged, or choose among other classes.
    """
    logging.set_verbosity_error()  # it announces that the head is new, which it is meant to be
    writes = config.is_encoder_decoder
    auto = AutoModelForSeq2SeqLM if writes else AutoModelForSequenceClassification
    if path is None:
        return auto.from_config(config)
    with source_of(path, local_dir) as source:
        try:
            return auto.from_pretrained(source, config=config, dtype=torch.float32)
        except RuntimeError as error:
            own = AutoConfig.from_pretrained(source).id2label or {}
            if writes or len(own) == config.num_labels:
                raise
            if len(own) == 1:
                valid = "2 classes or more (tsdtp.prune() takes such a model)"
                raise ValueError(f"{path} gives a number; valid: {valid}") from error
            names = ", ".join(map(str, own.values()))
            raise ValueError(
                f"{path} chooses among {len(own)} classes ({names}), the task "
                f"among {config.num_labels}; valid: a task.data.label_names of {len(own)}"
            ) from error
