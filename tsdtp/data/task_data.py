"""What the data of every task can do once its splits are encoded: draw rows, make loaders."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch.utils.data import DataLoader

from tsdtp.data.batching import Batch, make_loader
from tsdtp.provenance import file_digest

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedTokenizerBase


@dataclass(kw_only=True, eq=False)
class TaskData(ABC):
    """Base of the tasks' data; a subclass fills `_encoded` and `_pad_ids` in its `prepare`.

    Args:
        name: of the task, for messages.
        source: one of `sources`.
        max_length: limit in tokens, special tokens included; what is longer is truncated, and
            counted in `cut`. The tokenizer's own limit holds for texts to classify as well.
        hub_path: data set on the Hugging Face hub.
        hub_name: its configuration.
        local_dir: folder of the local files.
        local_files: by split a file name, or a list of names to be joined; None: as the task does.
        evaluate_on: the split that a record tells of.
        evaluate_file: other rows to report on in its place.
        evaluate_only: read nothing but that; there is no `train` split then.
        train_limit: rows to train on at most, drawn at random.
        eval_limit: rows of each other split at most, drawn at random.
        train_examples: rows of a synthetic train split.
        eval_examples: rows of any other synthetic split.
        cache_dir: folder of tokenised data; None takes a folder in the cache of `datasets`.
        seed: of synthetic rows and of random draws.

    Attributes:
        sources: the valid ones, each with the argument that it needs, or None.
        batch_tokens: see `samplers.TokenBatchSampler`; None where batches count rows.
        reported: the prepared split that a record tells of.
        cut: by split the texts that were truncated, known once they are prepared.
        told: what was left out or cut, in words, known then, too.
        digests: what the files held that were read, by their names in the data's folder.

    Raises:
        ValueError: if an argument is not one of its valid values.
    """

    sources: ClassVar[Mapping[str, str | None]] = {"hub": "hub_path", "local": "local_dir"}

    name: str
    source: str
    max_length: int = 128
    hub_path: str | None = None
    hub_name: str | None = None
    local_dir: str | None = None
    local_files: Mapping[str, str | Sequence[str]] | None = None
    evaluate_on: str = "validation"
    evaluate_file: str | None = None
    evaluate_only: bool = False
    train_limit: int | None = None
    eval_limit: int | None = None
    train_examples: int = 16000
    eval_examples: int = 2000
    cache_dir: str | None = None
    seed: int = 0
    batch_tokens: int | None = field(default=None, init=False)
    reported: str = field(default="validation", init=False)

    def __post_init__(self) -> None:
        """Checks the arguments; reads nothing yet."""
        if self.source not in self.sources:
            valid = ", ".join(self.sources)
            raise ValueError(f"{self.name}: unknown source {self.source!r}; valid: {valid}")
        needed = self.sources[self.source]
        if needed and not getattr(self, needed):
            raise ValueError(f"{self.name}: source={self.source} needs {needed}")
        self.digests: dict[str, str] = {}
        self.cut: dict[str, int] = {}
        self.told: list[str] = []
        self._rows: DatasetDict | None = None
        self._encoded: dict[str, Dataset] = {}
        self._pad_ids: dict[str, Any] = {}

    def check_length(self, max_positions: int | None) -> None:
        """Raises ValueError where texts may be longer than a model takes; None checks nothing."""
        if max_positions is not None and self.max_length > max_positions:
            raise ValueError(
                f"{self.name}: max_length={self.max_length} is more than the {max_positions} "
                f"positions of the model; valid: task.data.max_length={max_positions} or less"
            )

    @property
    def cache(self) -> Path:
        """Folder of tokenised data."""
        from datasets import config

        return Path(self.cache_dir or config.HF_DATASETS_CACHE / "tsdtp").expanduser()

    @abstractmethod
    def load(self) -> "DatasetDict":
        """Reads and checks the rows; later calls return the same."""

    @abstractmethod
    def prepare(
        self, tokenizer: "PreTrainedTokenizerBase", max_positions: int | None = None
    ) -> None:
        """Tokenises all splits, or finds them in the cache."""

    @abstractmethod
    def new_tokenizer(self, vocab_size: int) -> "PreTrainedTokenizerBase":
        """A tokenizer trained on the texts of the train split."""

    def loader(
        self,
        split: str,
        batch_size: int,
        shuffle: bool = False,
        bucketed: bool = False,
        seed: int = 0,
        limit: int | None = None,
        order: str = "plain",
        rank: int = 0,
        world: int = 1,
        min_tokens: int = 0,
    ) -> DataLoader[Batch]:
        """Makes a loader of batches padded to their longest row, as `batching.collate` describes.

        Args:
            split: one of those prepared, such as `train` or `validation`.
            batch_size: rows per batch, of all processes together.
            shuffle: rows in a new random order each epoch.
            bucketed: batches of rows of like length, drawn anew each epoch, shuffle or not; of
                `batch_tokens` tokens where the task says so.
            seed: of the random order.
            limit: only the first rows of the split.
            order: `plain` as in the split, or `sorted` from the longest row to the shortest.
            rank: of this process, from 0.
            world: number of processes that share every batch, as `samplers.BatchShard` describes.
            min_tokens: only rows of so many tokens, special ones included.

        Raises:
            RuntimeError: before `prepare`.
            ValueError: if split or order is not known, the order is both random and sorted, no
                row has `min_tokens`, or there are too few rows for so many processes.
        """
        if not self._encoded:
            raise RuntimeError(f"{self.name}: call prepare(tokenizer) before loader()")
        if split not in self._encoded:
            raise ValueError(f"unknown split {split!r}; valid: {', '.join(self._encoded)}")
        data = self._long(split, min_tokens)
        data = data if limit is None else data.select(range(min(limit, len(data))))
        settings = (batch_size, shuffle, bucketed, seed, order, rank, world)
        return make_loader(data, *settings, batch_tokens=self.batch_tokens, **self._pad_ids)

    def _long(self, split: str, min_tokens: int) -> "Dataset":
        """The rows of so many tokens."""
        data = self._encoded[split]
        if min_tokens <= 0:
            return data
        lengths = np.asarray(data["length"][:])
        rows = np.flatnonzero(lengths >= min_tokens)
        if not rows.size:
            raise ValueError(
                f"{self.name} {split}: no row has min_tokens={min_tokens}; the longest has "
                f"{lengths.max()}"
            )
        return data.select(rows)

    def count(self, column: str) -> dict[str, int]:
        """By prepared split the rows for which a column is true."""
        return {split: sum(rows[column][:]) for split, rows in self._encoded.items()}

    def note(self, files: Iterable[Path]) -> None:
        """Remembers what files hold that are read now."""
        folder = Path(self.local_dir or "")
        for file in files:
            inside = self.local_dir is not None and file.is_relative_to(folder)
            name = file.relative_to(folder) if inside else file.absolute()
            self.digests[str(name)] = file_digest(file)

    def draw(self, rows: "Dataset", limit: int | None) -> "Dataset":
        """So many rows at random, or all of them.

        Raises:
            ValueError: for a limit below 1.
        """
        if limit is None or limit >= len(rows):
            return rows
        if limit < 1:
            raise ValueError(
                f"{self.name}: train_limit and eval_limit must be 1 or more, or null, not {limit}"
            )
        return rows.shuffle(seed=self.seed).select(range(limit))


def cut_at(limit: int, counts: Mapping[str, int], called: str) -> list[str]:
    """For each split of which texts were truncated, how many."""
    return [f"{n} {split} {called} cut at {limit} tokens" for split, n in counts.items() if n]
