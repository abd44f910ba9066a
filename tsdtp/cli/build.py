"""From a config to the objects of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from transformers import PreTrainedTokenizerBase

from tsdtp.cli.config import ConfigError, instantiate
from tsdtp.cli.identity import start_path
from tsdtp.data import TextClassificationData, TranslationData
from tsdtp.models import PrunedClassifier, PrunedModel, PrunedSeq2Seq
from tsdtp.models.loading import (
    TOKENIZER,
    WEIGHTS,
    check_weights,
    load_config,
    load_model,
    load_tokenizer,
    load_weights,
)
from tsdtp.models.pruned import check_settings
from tsdtp.pruning import TokenPruner
from tsdtp.pruning.none import NoPruning
from tsdtp.tasks.classification import ClassificationTask
from tsdtp.tasks.optim import AdamW
from tsdtp.tasks.pruning_task import PruningTask
from tsdtp.tasks.translation import TranslationTask


def device_of(config: DictConfig) -> torch.device:
    """Where evaluation and benchmark run.

    Raises:
        ConfigError: if a GPU is asked for and there is none.
    """
    if config.hardware.accelerator != "gpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            "hardware asks for a GPU and torch sees none; valid here: cpu, cpu_bf16, ddp_cpu"
        )
    return torch.device("cuda")


def start_folder(config: DictConfig) -> Path | None:
    """The unpruned run to start from and learn from, or None.

    Raises:
        ConfigError: if it is not there or not finished.
        ValueError: if its weights are damaged.
    """
    folder = start_path(config)
    if folder is None:
        return None
    if not (folder / WEIGHTS).is_file():
        named = config.model.init_from
        raise ConfigError(f"model.init_from={named}: no finished run in {folder} (no {WEIGHTS})")
    check_weights(folder)
    return folder


class Cell:
    """Data, tokenizer, architecture and pruner of one run; weights come last, on request.

    Everything that can be wrong with a config shows here, before weights are loaded.

    Args:
        config: of the run, complete.
    """

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.device = device_of(config)
        self.start = start_folder(config)
        check_settings(config.model.execution, config.model.pooling, config.model.attention)
        self.translates = config.task.metric == TranslationTask.metric
        self.data: TextClassificationData | TranslationData = instantiate(config.task.data)
        self.architecture = self._architecture()
        self._check_match()
        self.pruner: TokenPruner = self._pruner()
        self.data.load()
        self.tokenizer = self._tokenizer()
        self.data.prepare(self.tokenizer, self._positions())

    def _architecture(self):
        model = self.config.model
        settings = None
        if model.config is not None:
            settings = cast(dict[str, Any], OmegaConf.to_container(model.config))
            settings["vocab_size"] = model.vocab_size
        labels = getattr(self.data, "num_labels", None)
        return load_config(model.path, settings, labels, model.local_dir)

    def _check_match(self) -> None:
        """Raises ConfigError where a translation meets a classifier, or the other way round."""
        task, model = self.config.task, self.config.model
        if self.architecture.is_encoder_decoder != self.translates:
            need = "an encoder-decoder" if self.translates else "an encoder"
            others = {True: "tiny_marian, marian_small, opus_mt_en_de, t5_small"}
            valid = others.get(self.translates, "tiny_bert, minilm_l6, bert_base")
            raise ConfigError(
                f"task={task.name} needs {need}, model={model.name} is none; valid are {valid}, ..."
            )

    def _pruner(self) -> TokenPruner:
        shape = self.architecture
        return instantiate(
            self.config.pruning, num_layers=shape.num_hidden_layers, hidden_size=shape.hidden_size
        )

    def _positions(self) -> int | None:
        """How long a sequence may be; None: T5's positions are relative, and do not end."""
        # RoBERTa numbers positions from the padding index on and so has fewer than it says.
        reserved = 2 if self.architecture.model_type == "roberta" else 0
        positions = getattr(self.architecture, "max_position_embeddings", None)
        return positions and positions - reserved

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        """The start run's, else the pretrained model's, else one trained on the task's texts."""
        model = self.config.model
        if self.start is not None and (self.start / TOKENIZER).is_dir():
            tokenizer = load_tokenizer(str(self.start / TOKENIZER))
        elif model.path is not None:
            tokenizer = load_tokenizer(model.path, model.local_dir)
        else:
            tokenizer = self.data.new_tokenizer(model.vocab_size)
        if model.path is None:
            self._fit_vocabulary(tokenizer)
        return tokenizer

    def _fit_vocabulary(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Gives a model of random weights the tokenizer's vocabulary."""
        shape = self.architecture
        shape.vocab_size, shape.pad_token_id = len(tokenizer), tokenizer.pad_token_id
        if self.translates:
            shape.decoder_vocab_size = len(tokenizer)
            shape.eos_token_id = tokenizer.eos_token_id
            shape.decoder_start_token_id = tokenizer.pad_token_id
            shape.bos_token_id = shape.forced_eos_token_id = None

    @property
    def mask_id(self) -> int:
        """Token id that stands for "no word here" in the baseline of attributions."""
        tokenizer = self.tokenizer
        # A translator knows no mask; its padding has the zero vector.
        named = tokenizer.pad_token_id if self.translates else tokenizer.mask_token_id
        return cast(int | None, named) or 0

    def task(
        self,
        model: PrunedModel,
        optim: AdamW,
        teacher: PrunedModel | None = None,
        split: str = "validation",
        **settings,
    ) -> PruningTask:
        """The Lightning module that trains a model, and measures it on a split.

        Args:
            model: as `model` gives it.
            optim: how to optimise.
            teacher: as `teacher` gives it.
            split: which the validation loader serves.
            **settings: further arguments of the module.
        """
        if isinstance(model, PrunedSeq2Seq) and isinstance(self.data, TranslationData):
            references, node = self.data.references(split), self.config.task
            settings = {"generation": dict(node.generation), **settings}
            return TranslationTask(model, self.tokenizer, references, optim, teacher, **settings)
        return ClassificationTask(model, self.data.num_labels, optim, teacher, **settings)

    def model(self) -> PrunedModel:
        """The pruned model, its weights from the start run where there is one."""
        model = self._wrap(self.pruner, self.config.model.execution)
        if self.start is not None:
            load_weights(model, self.start, strict=False)
        return model

    def teacher(self) -> PrunedModel | None:
        """The start run's model, unpruned, with weights of its own; None without one."""
        if self.start is None:
            return None
        shape = self.architecture
        pruner = NoPruning(shape.num_hidden_layers, shape.hidden_size)
        teacher = self._wrap(pruner, "packed")
        load_weights(teacher, self.start, strict=False)
        return teacher.eval()

    def _wrap(self, pruner: TokenPruner, execution: str | None) -> PrunedModel:
        model = self.config.model
        settings = {
            "execution": execution,
            "special_ids": special_ids(self.tokenizer),
            "backend": model.attention,
            "auxiliary_weight": model.auxiliary_weight,
        }
        weights = load_model(model.path, self.architecture, model.local_dir)
        if self.translates:
            return PrunedSeq2Seq(weights, pruner, **settings)
        return PrunedClassifier(weights, pruner, pooling=model.pooling, **settings)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of tokens that structure a sequence; unknown and masked words are words."""
    words = (tokenizer.unk_token_id, tokenizer.mask_token_id)
    return [i for i in tokenizer.all_special_ids if i not in words]


def build_each(nodes: DictConfig | None) -> list[Any]:
    """Instantiates every entry of a group of named nodes (callbacks, loggers)."""
    return [instantiate(node) for node in (nodes or {}).values()]
