"""What the data of every task can do once its splits are encoded: draw rows, make loaders."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import DataLoader

from tsdtp.data.batching import Batch, make_loader
from tsdtp.provenance import file_digest

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedTokenizerBase


class TaskData(ABC):
    """Base of the tasks' data; a subclass fills `_encoded` and `_pad_ids` in its `prepare`.

    Attributes:
        name: of the task, for messages.
        seed: of random draws.
        batch_tokens: see `samplers.TokenBatchSampler`; None where batches count rows.
        reported: the prepared split that a record tells of.
        evaluate_on: the split of the source that this is.
        evaluate_file: other rows to report on in its place; None where there are none.
        evaluate_only: whether that is all that is read.
        digests: what the files held that were read, by their names in the data's folder.
    """

    name: str
    seed: int
    batch_tokens: int | None = None
    reported: str = "validation"
    evaluate_on: str
    evaluate_file: str | None = None
    evaluate_only: bool = False
    local_dir: str | None = None
    digests: dict[str, str]
    _encoded: dict[str, "Dataset"]
    _pad_ids: dict[str, int]

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
