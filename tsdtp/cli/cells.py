"""What a run of each kind of task is built of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from sacrebleu.metrics.bleu import BLEU
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tsdtp.cli.build import Cell
from tsdtp.cli.checks.values import check_choice
from tsdtp.cli.config import ConfigError, given, plain
from tsdtp.cli.garbage import gc_as_usual
from tsdtp.cli.identity import held_record, start_path
from tsdtp.data import TextClassificationData, TranslationData
from tsdtp.models import PrunedClassifier, PrunedModel, PrunedSeq2Seq
from tsdtp.models.cost import max_positions
from tsdtp.models.texts import mask_id_of
from tsdtp.models.weights import load_weights
from tsdtp.pruning import TokenPruner
from tsdtp.results import read_record, target_language
from tsdtp.tasks.classification import ClassificationTask
from tsdtp.tasks.examples import ExampleLog
from tsdtp.tasks.optim import AdamW
from tsdtp.tasks.pruning_task import PruningTask
from tsdtp.tasks.translation import TranslationTask


class ClassificationCell(Cell[TextClassificationData]):
    """A run that classifies."""

    writes = False
    models = "tiny_bert, minilm_l6, bert_base"

    @property
    def num_labels(self) -> int:
        """Classes."""
        return self.data.num_labels

    @property
    def mask_id(self) -> int:
        """The mask token's, or that of what comes next to it."""
        return mask_id_of(self.tokenizer)

    def check_answers(self) -> None:
        """Refuses a model whose classes are the task's in another order."""
        own = cast(dict[int, str], self.architecture.id2label)
        _check_order(own, self.data.label_names, self.config.model.name)

    def task(
        self, model: Any, optim: AdamW, teacher: Any = None, split: str = "validation", **settings
    ) -> PruningTask:
        """See `Cell.task`; its labels come with every batch, whatever the split."""
        return ClassificationTask(model, self.num_labels, optim, teacher, **settings)

    def final_task(self, model: Any) -> PruningTask:
        """With a log of every answer."""
        return self.task(model, AdamW(), log=ExampleLog(self.tokenizer, self.data.label_names))

    def wrap(self, weights: PreTrainedModel, pruner: TokenPruner, **settings) -> PrunedClassifier:
        """A pruned classifier, whose config names the classes."""
        weights.config.id2label = dict(enumerate(map(str, self.data.label_names)))
        weights.config.label2id = {v: k for k, v in weights.config.id2label.items()}
        return PrunedClassifier(weights, pruner, pooling=self.config.model.pooling, **settings)


def _check_order(own: Mapping[int, str], names: Sequence[str], model: str) -> None:
    """Raises ConfigError where a model's classes are the task's in another order."""
    here, there = [str(name) for name in names], [str(own[number]) for number in sorted(own)]
    ours, theirs = ([name.casefold() for name in order] for order in (here, there))
    if ours != theirs and sorted(ours) == sorted(theirs):
        raise ConfigError(
            f"model={model} has the classes {', '.join(there)}, the task {', '.join(here)}; valid: "
            "a model of that order, or task.data.label_names of the model's with names, not "
            "numbers, in the data"
        )


class TranslationCell(Cell[TranslationData]):
    """A run that translates."""

    writes = True
    models = "tiny_marian, mbart_small, marian_small, opus_mt_en_de, t5_small"

    @property
    def mask_id(self) -> int:
        """That of padding, whose embedding is zero: a translator knows no mask."""
        return cast(int | None, self.tokenizer.pad_token_id) or 0

    @property
    def language(self) -> str:
        """That of the references, without a country."""
        return target_language(self.data.languages)

    def fit_vocabulary(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Also tells the decoder where targets begin and end."""
        super().fit_vocabulary(tokenizer)
        shape = self.architecture
        shape.decoder_vocab_size = len(tokenizer)
        shape.eos_token_id = tokenizer.eos_token_id
        # mBART moves the end of a target to its front, the others put padding there.
        begins = tokenizer.eos_token_id if shape.model_type == "mbart" else tokenizer.pad_token_id
        shape.decoder_start_token_id = begins
        shape.bos_token_id = shape.forced_eos_token_id = None

    def check_answers(self) -> None:
        """Refuses a language that BLEU cannot read here, or more words than there are positions.

        Tells of references out of reach.
        """
        try:
            BLEU(trg_lang=self.language)
        except RuntimeError as error:
            raise ConfigError(" ".join(str(error).split())) from None
        most = self.writing().get("max_new_tokens")
        self._check_positions("task.generation.max_new_tokens", most)
        if most is not None and (beyond := self.data.targets_beyond(most)):
            split, limit = self.data.reported, f"task.generation.max_new_tokens={most}"
            self.tell([f"{beyond} {split} references are longer than {limit}"])

    def check_timed(self) -> None:
        """Refuses more words to be timed than the model has positions."""
        self._check_positions("benchmark.new_tokens", self.config.benchmark.new_tokens)

    def _check_positions(self, key: str, tokens: int | None) -> None:
        places = max_positions(self.architecture)
        if tokens is not None and places is not None and tokens > places:
            raise ConfigError(
                f"{key}={tokens}: valid are up to {places}, the positions "
                f"of model={self.config.model.name}"
            )

    def task(
        self, model: Any, optim: AdamW, teacher: Any = None, split: str = "validation", **settings
    ) -> PruningTask:
        """See `Cell.task`."""
        references, settings["language"] = self.data.references(split), self.language
        return TranslationTask(
            model, self.tokenizer, references, optim, teacher, self.writing(), **settings
        )

    def _alike(self) -> Path | None:
        """The baseline, where it wrote with the same settings: beams alone would differ as well."""
        held = None if self.baseline is None else held_record(self.baseline)
        task = held.provenance["config"]["task"] if held else {}
        alike = task.get("generation") == plain(self.config.task.generation)
        return self.baseline if alike else None

    def writing(self) -> dict[str, Any]:
        """Settings of `generate`, the language to write in included, as targets begin with it."""
        settings = given(self.config.task.generation)
        if self.data.language_tokens is None:
            return settings
        language = self.tokenizer.convert_tokens_to_ids(self.data.language_tokens[1])
        # mBART's first tokenizer puts it behind the end, whence a decoder shifts it to the front.
        last = self.tokenizer(text_target="a")["input_ids"][-1] == language
        return {"decoder_start_token_id" if last else "forced_bos_token_id": language, **settings}

    def final_task(self, model: Any) -> PruningTask:
        """With a standard error of BLEU, and compared with the baseline."""
        extra = {"bootstrap": self.config.task.bootstrap, "baseline": self._alike()}
        return self.task(model, AdamW(), split=self.data.reported, **extra)

    def wrap(self, weights: PreTrainedModel, pruner: TokenPruner, **settings) -> PrunedSeq2Seq:
        """A pruned encoder-decoder, which is saved with how it writes."""
        if weights.generation_config is not None:
            weights.generation_config.update(**self.writing())
        return PrunedSeq2Seq(weights, pruner, **settings)


_CELLS: dict[str, type[Cell]] = {
    ClassificationTask.metric: ClassificationCell,
    TranslationTask.metric: TranslationCell,
}


def build_cell(config: DictConfig) -> Cell:
    """The cell of a complete config; the figure that the task is judged by says which kind.

    Raises:
        ConfigError: for a figure that no kind of task has, or whatever else is wrong.
    """
    metric = config.task.metric
    check_choice("task.metric", metric, [*_CELLS])
    gc_as_usual()
    return _CELLS[metric](config)


def load_run(folder: str, changes: Mapping[str, Any] | None = None) -> tuple[Cell, PrunedModel]:
    """A finished run as it was trained, and its model in evaluation mode.

    Args:
        folder: of the run.
        changes: new values of its settings, by their dotted names.

    Raises:
        FileNotFoundError: if the folder holds no record.
        ConfigError: if its data or weights are not there.
    """
    config = cast(DictConfig, OmegaConf.create(read_record(folder).provenance["config"]))
    config.pruning.pop("blocks", None)  # of depth, in older records; its strictness says as much
    baseline = start_path(config)
    # All of it lies there; where it once came from may be gone.
    own = {"model.path": folder, "model.config": None, "model.local_dir": None}
    own["teacher.others"] = []
    for key, value in {**(changes or {}), **own, "model.init_from": folder}.items():
        OmegaConf.update(config, key, value, merge=False)
    cell = build_cell(config)
    cell.baseline = baseline  # it starts from the run itself, which is no comparison
    model = cell.model()
    load_weights(model, Path(folder))  # the pruner's, too: a start run gives the encoder's alone
    return cell, model.eval()
