"""From a config to the objects of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tsdtp.cli.config import ConfigError, instantiate
from tsdtp.cli.identity import held_record
from tsdtp.cli.pruner import load_shape, pruner_of
from tsdtp.cli.start import other_folders, start_folder
from tsdtp.data.task_data import TaskData
from tsdtp.models import PrunedModel
from tsdtp.models.cost import max_positions
from tsdtp.models.loading import load_model, load_tokenizer, set_dropout
from tsdtp.models.pruned import check_settings
from tsdtp.models.saving import TOKENIZER, saved_blocks
from tsdtp.models.texts import structural_ids
from tsdtp.models.weights import load_weights
from tsdtp.pruning import TokenPruner
from tsdtp.pruning.none import NoPruning
from tsdtp.tasks.optim import AdamW
from tsdtp.tasks.pruning_task import PruningTask


def device_of(config: DictConfig) -> torch.device:
    """Where evaluation and benchmark run: the first of the devices.

    Raises:
        ConfigError: if a GPU is asked for and there is none.
    """
    if config.hardware.accelerator != "gpu":
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            "hardware asks for a GPU and torch sees none; valid here: cpu, cpu_bf16, ddp_cpu"
        )
    devices = config.hardware.devices
    return torch.device("cuda", 0 if isinstance(devices, int) else devices[0])


Data = TypeVar("Data", bound=TaskData)


class Cell(ABC, Generic[Data]):
    """Data, tokenizer, architecture and pruner of one run; weights come last, on request.

    Everything that can be wrong with a config shows here, before weights are loaded.

    Args:
        config: of the run, complete.

    Attributes:
        start: folder of the run whose weights come first, or None.
        others: folders of further runs that teach.
        baseline: folder of the run to compare with, the same unless told otherwise.
        writes: whether its models are encoder-decoders.
        models: names of some that fit.
    """

    writes: bool
    models: str

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.device = device_of(config)
        self.start = self.baseline = start_folder(config)
        self.others = other_folders(config)
        check_settings(config.model.execution, config.model.pooling, config.model.attention)
        if self.start is None and not config.get("warm_start", True):
            raise ConfigError("warm_start=false: valid where model.init_from names a teacher")
        self.data: Data = instantiate(config.task.data)
        self.architecture = self._architecture()
        most = None if self.start is None else saved_blocks(self.start)
        self.pruner: TokenPruner = pruner_of(config, self.architecture, most)
        self.data.load()
        self.tokenizer = self._tokenizer()
        self.data.prepare(self.tokenizer, max_positions(self.architecture))
        self.tell(self.data.told)

    @rank_zero_only
    def tell(self, parts: Sequence[str]) -> None:
        """Prints in one line what is to be known of the data, if there is anything."""
        if parts:
            print(f"{self.config.task.name}: {'; '.join(parts)}", flush=True)

    def _architecture(self):
        model = self.config.model
        architecture = load_shape(model, self.num_labels)
        if architecture.is_encoder_decoder != self.writes:
            need = "an encoder-decoder" if self.writes else "an encoder"
            raise ConfigError(
                f"task={self.config.task.name} needs {need}, model={model.name} is none; "
                f"valid are {self.models}, ..."
            )
        if (dropout := self.config.get("dropout")) is not None:
            set_dropout(architecture, dropout)
        return architecture

    def _tokenizer(self) -> PreTrainedTokenizerBase:
        """The start run's, else the pretrained model's, else one trained on the task's texts."""
        model = self.config.model
        if self.start is not None and (self.start / TOKENIZER).is_dir():
            tokenizer = load_tokenizer(str(self.start / TOKENIZER))
        elif model.path is not None:
            tokenizer = load_tokenizer(model.path, model.local_dir)
            self._check_vocabulary(tokenizer)
        else:
            tokenizer = self.data.new_tokenizer(model.vocab_size)
        if model.path is None:
            self.fit_vocabulary(tokenizer)
        if tokenizer.pad_token_id is None:  # GPT-2 has none; where padding is, no token is read
            tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
        if self.architecture.pad_token_id is None:
            self.architecture.pad_token_id = tokenizer.pad_token_id
        return tokenizer

    def _check_vocabulary(self, tokenizer: PreTrainedTokenizerBase) -> None:
        last, size = max(tokenizer.get_vocab().values()), self.architecture.vocab_size
        if last >= size:
            raise ConfigError(
                f"{self.config.model.path}: its tokenizer has tokens up to {last}, the model "
                f"embeds {size}; valid: a model saved after resize_token_embeddings({last + 1})"
            )

    def fit_vocabulary(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Gives an architecture of random weights the tokenizer's vocabulary."""
        self.architecture.vocab_size = len(tokenizer)
        self.architecture.pad_token_id = tokenizer.pad_token_id

    @property
    def num_labels(self) -> int | None:
        """Classes; None where nothing is classified."""
        return None

    def check_answers(self) -> None:
        """Raises ConfigError where a model's answers are not the task's, or cannot be judged here.

        To be asked before any answer is given; where only seconds are measured it does not matter.
        """

    def check_timed(self) -> None:
        """Raises ConfigError where more is to be written and timed than the model can write."""

    @property
    @abstractmethod
    def mask_id(self) -> int:
        """Token id that stands for "no word here" in the baseline of attributions."""

    @abstractmethod
    def task(
        self, model: Any, optim: AdamW, teacher: Any = None, split: str = "validation", **settings
    ) -> PruningTask:
        """The Lightning module that trains a model, and measures it on a split.

        Args:
            model: as `model` gives it.
            optim: how to optimise.
            teacher: as `teacher` gives it.
            split: which the validation loader serves.
            **settings: further arguments of `PruningTask`.
        """

    def final_task(self, model: Any) -> PruningTask:
        """The module that measures a trained model on the reported split, for the record."""
        return self.task(model, AdamW(), split=self.data.reported)

    @abstractmethod
    def wrap(self, weights: PreTrainedModel, pruner: TokenPruner, **settings) -> PrunedModel:
        """A pruned model around a plain one; settings as `PrunedModel` has them."""

    def model(self) -> PrunedModel:
        """The pruned model, its weights from the start run where there is one."""
        model = self._wrap(self.pruner, self.config.model.execution)
        if self.start is not None:
            load_weights(model, self.start, strict=False)
        return model

    def restart(self, model: PrunedModel) -> None:
        """Puts a model back to the weights that the start run began with; its pruner stays."""
        settings, begun = self.config.model, self.start and held_record(self.start)
        with torch.random.fork_rng():
            # What is random there was drawn first of all, by the seed of that run.
            torch.manual_seed(begun.identity["seed"] if begun else self.config.seed)
            fresh = load_model(settings.path, self.architecture, settings.local_dir)
        model.hf_model.load_state_dict(fresh.state_dict())

    def teacher(self) -> PrunedModel | None:
        """The start run's model, unpruned, with weights of its own; None without one."""
        return None if self.start is None else self._unpruned(self.start)

    def other_teachers(self) -> list[PrunedModel]:
        """The models of the further runs that teach, unpruned."""
        return [self._unpruned(folder) for folder in self.others]

    def _unpruned(self, folder: Path) -> PrunedModel:
        blocks = saved_blocks(folder) or self.architecture.num_hidden_layers
        pruner = NoPruning(blocks, self.architecture.hidden_size)
        model = self._wrap(pruner, "packed")
        load_weights(model, folder, strict=False)
        return model.eval()

    def _wrap(self, pruner: TokenPruner, execution: str | None) -> PrunedModel:
        model = self.config.model
        return self.wrap(
            load_model(model.path, self.architecture, model.local_dir),
            pruner,
            execution=execution,
            special_ids=structural_ids(self.tokenizer),
            backend=model.attention,
            auxiliary_weight=model.auxiliary_weight,
        )
