"""Classification of single texts or pairs: rows from anywhere, tokenised once, batched."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tsdtp.data.batching import Batch, collate
from tsdtp.data.files import find_files, read_local
from tsdtp.data.sources import read_hub, read_synthetic, standardise
from tsdtp.data.task_data import TaskData, cut_at
from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.data.tokenizing import encode, encode_batch
from tsdtp.models.texts import length_limit

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

_GENERATED = ("validation", "test", "holdout")  # what a synthetic task may be evaluated on


@dataclass(kw_only=True, eq=False)
class TextClassificationData(TaskData):
    """A text classification task: `load` rows, `prepare` them for a tokenizer, ask for a `loader`.

    Without `local_files` it looks for `train.*`, and for `validation.*`, `dev.*` or `test.*`, tsv
    without quoting. Arguments beside those of `TaskData`:

    Args:
        text_columns: names of one or two columns.
        label_names: by label number; labels may be given as numbers or as these names.
        label_column: name of the label's column.
        synthetic: `sentence` or `pair`.
        evaluate_on: a split, or `holdout`: a part of train that is then not trained on, for
            choosing settings without a look at the validation split.
        holdout: the size of that part, between 0 and 1.

    Raises:
        ValueError: if an argument is not one of its valid values.
    """

    sources = {**TaskData.sources, "synthetic": "synthetic"}

    text_columns: Sequence[str]
    label_names: Sequence[str]
    label_column: str = "label"
    synthetic: str | None = None
    holdout: float = 0.05

    def __post_init__(self) -> None:
        """Checks the arguments; reads nothing yet."""
        super().__post_init__()
        if self.source == "synthetic" and self.evaluate_on not in _GENERATED:
            valid = ", ".join(_GENERATED)  # any word would make rows of its own
            raise ValueError(f"{self.name}: evaluate_on={self.evaluate_on!r}; valid: {valid}")
        if isinstance(self.text_columns, str) or len(self.text_columns) not in (1, 2):
            raise ValueError(f"{self.name}: text_columns must list 1 or 2, not {self.text_columns}")
        if isinstance(self.label_names, str):
            raise ValueError(
                f"{self.name}: label_names lists the classes, not {self.label_names!r}"
            )
        columns = [*self.text_columns, self.label_column]
        if len(set(columns)) < len(columns):
            raise ValueError(
                f"{self.name}: the columns of texts and label {columns} are not distinct"
            )
        if any(isinstance(name, bool) for name in self.label_names):
            raise ValueError(
                f"{self.name}: label_names {list(self.label_names)}: yaml takes yes, no, on and "
                "off for truth values; valid: ['yes', 'no']"
            )
        if len(set(self.label_names)) < len(self.label_names):
            raise ValueError(
                f"{self.name}: label_names {list(self.label_names)} has a class twice; valid: "
                "names that differ"
            )
        if not 0 < self.holdout < 1:
            raise ValueError(f"{self.name}: holdout must lie between 0 and 1, not {self.holdout}")

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return len(self.label_names)

    def load(self) -> "DatasetDict":
        """Reads and checks the rows; later calls return the same.

        Returns:
            Splits `train` (unless `evaluate_only`) and `validation` with columns `text`,
            `text_pair` (of pairs), `label`, and for synthetic tasks `decisive` and
            `decisive_pair`: a 0/1 per whitespace word.

        Raises:
            FileNotFoundError: if a file is not there; it names the file.
            ValueError: if a split, a column, a text or a label is not as described.
        """
        from datasets import DatasetDict

        if self._rows is None:
            limits = {"train": self.train_limit, "validation": self.eval_limit}
            splits = self._splits().items()
            self._rows = DatasetDict({name: self.draw(rows, limits[name]) for name, rows in splits})
        return self._rows

    def prepare(
        self, tokenizer: "PreTrainedTokenizerBase", max_positions: int | None = None
    ) -> None:
        """Tokenises both splits, or finds them in the cache.

        `told` then says how many texts were cut, and how many are empty.

        Args:
            tokenizer: any; for synthetic tasks a fast one.
            max_positions: of the model; None checks nothing.

        Raises:
            ValueError: if `max_length` is more than `max_positions`, or as `load`.
        """
        self.check_length(max_positions)
        limit = length_limit(tokenizer, self.max_length)
        for split, rows in self.load().items():
            self._encoded[str(split)] = encode(rows, tokenizer, limit, self.cache)
        self.cut = self.count("cut")
        self._pad_ids = {
            "pad_token_id": tokenizer.pad_token_id or 0,
            "pad_token_type_id": tokenizer.pad_token_type_id,
        }
        self.told = [*cut_at(limit, self.cut, "texts"), *self._empty()]

    def encode(self, texts: Mapping[str, list], tokenizer: "PreTrainedTokenizerBase") -> Batch:
        """One batch from columns of rows as `load` gives them, tokenised here and now."""
        count = len(texts["text"])
        limit = length_limit(tokenizer, self.max_length)
        columns = encode_batch(dict(texts), list(range(count)), tokenizer, limit)
        rows = [{k: column[i] for k, column in columns.items()} for i in range(count)]
        return collate(rows, **self._pad_ids)

    def _empty(self) -> Iterator[str]:
        """For each split with empty texts, how many: a missing cell is one."""
        for split, rows in self.load().items():
            if empty := sum(not text.strip() for column in _texts(rows) for text in column):
                yield f"{empty} {split} texts are empty"

    def train_texts(self) -> Iterator[str]:
        """Yields every text of the train split, to train a tokenizer on."""
        for column in _texts(self.load()["train"]):
            yield from column

    def new_tokenizer(self, vocab_size: int) -> "PreTrainedTokenizerFast":
        """A WordPiece tokenizer trained on the texts of the train split."""
        return train_tokenizer(self.train_texts(), vocab_size, max_length=max(self.max_length, 512))

    def _splits(self) -> "dict[str, Dataset]":
        holds_out, splits = self.evaluate_on == "holdout", {}
        if not self.evaluate_only or (holds_out and self.evaluate_file is None):
            splits["train"] = self._read("train")
        if holds_out and splits:
            parts = splits["train"].train_test_split(self.holdout, seed=self.seed)
            splits = {"train": parts["train"], "validation": parts["test"]}
        if self.evaluate_file is not None:
            splits["validation"] = self._read_files([Path(self.evaluate_file)], self.evaluate_file)
        elif not holds_out:
            splits["validation"] = self._read(self.evaluate_on)
        return {"validation": splits["validation"]} if self.evaluate_only else splits

    def _read(self, split: str) -> "Dataset":
        if self.source == "synthetic":
            count = self.train_examples if split == "train" else self.eval_examples
            return read_synthetic(str(self.synthetic), split, count, self.seed)
        if self.source == "hub":
            rows = read_hub(str(self.hub_path), self.hub_name, split)
            return self._standardise(rows, split)
        files = find_files(Path(str(self.local_dir)), split, self.local_files)
        return self._read_files(files, split)

    def _read_files(self, files: list[Path], name: str) -> "Dataset":
        rows = read_local(files, self.text_columns, self.label_column)
        self.note(files)
        return self._standardise(rows, name)

    def _standardise(self, rows: Mapping[str, Sequence], name: str) -> "Dataset":
        columns = (self.text_columns, self.label_column, self.label_names)
        return standardise(rows, *columns, where=f"{self.name} {name}")


def _texts(rows: "Dataset") -> Iterator[Sequence[str]]:
    """The columns of texts: one, or two of pairs."""
    return (rows[name][:] for name in rows.column_names if name in ("text", "text_pair"))
