"""Translation: sentence pairs from anywhere, tokenised once, batched."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tsdtp.data.parallel import (
    SIDES,
    Pairs,
    check_full,
    find_text,
    in_one_line,
    in_texts,
    pairs_of,
    read_parallel,
    without_empty,
    without_overlap,
)
from tsdtp.data.sources import read_hub
from tsdtp.data.synthetic_translation import generate_translation
from tsdtp.data.task_data import TaskData, cut_at
from tsdtp.data.tokenizer import train_bpe
from tsdtp.data.tokenizing import encode, encode_pairs

if TYPE_CHECKING:
    from datasets import DatasetDict
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

SPLITS = ("train", "validation", "test")


@dataclass(kw_only=True, eq=False)
class TranslationData(TaskData):
    """A translation task: `load` pairs, `prepare` them for a tokenizer, ask for a `loader`.

    Training pairs with an empty side are left out, and those of which a side occurs in the
    validation or the test split; both are counted in `left_out`. The measured splits must be full.

    A name in `local_files` is one without its language: `train` means `train.en` and `train.de`,
    gzipped or not; without any it is the split's own. `evaluate_file` likewise. Arguments beside
    those of `TaskData`, or that mean more here:

    Args:
        languages: of source and target, as local files end and as the hub names them.
        lines_per_text: so many consecutive lines (of one file) make one text: documents instead of
            sentences. One is left out if any line of it would be.
        max_length: of each side; what is cut is counted in `cut` and `target_cut`.
        prefix: text before each source (T5).
        language_tokens: of source and target, for a tokenizer that has such (mBART).
        batch_tokens: training batches of about so many tokens, see `samplers.TokenBatchSampler`;
            None: of so many rows.
        hub_path: data set on the Hugging Face hub, with a column `translation`.
        evaluate_on: the split that a record tells of, `test` or `validation`; training looks at
            `validation` alone.
        train_limit: pairs to train on at most, drawn at random; of a hub's twice as many are read.

    Raises:
        ValueError: if an argument is not one of its valid values.
    """

    sources = {**TaskData.sources, "synthetic": None}

    languages: Sequence[str]
    lines_per_text: int = 1
    prefix: str = ""
    language_tokens: Sequence[str] | None = None
    batch_tokens: int | None = None
    evaluate_on: str = "test"
    eval_examples: int = 500

    def __post_init__(self) -> None:
        """Checks the arguments; reads nothing yet."""
        super().__post_init__()
        if isinstance(self.languages, str) or len(self.languages) != 2:
            raise ValueError(f"{self.name}: languages must list 2, not {self.languages}")
        if self.evaluate_on not in SPLITS[1:]:
            valid = ", ".join(SPLITS[1:])
            raise ValueError(f"{self.name}: evaluate_on={self.evaluate_on!r}; valid: {valid}")
        lines = self.lines_per_text
        if isinstance(lines, bool) or not isinstance(lines, int) or lines < 1:
            raise ValueError(f"{self.name}: lines_per_text={lines}; valid: 1 or more")
        if not isinstance(self.prefix, str):
            raise ValueError(f"{self.name}: prefix={self.prefix}; valid: a text, '' for none")
        self.reported = self.evaluate_on
        self.left_out: dict[str, int] = {}
        self.target_cut: dict[str, int] = {}

    def load(self) -> DatasetDict:
        """Reads and checks the pairs; later calls return the same.

        Returns:
            Splits `train`, `validation` and `test` (with `evaluate_only` the one) with columns
            `source`, `target`, and for the synthetic task `decisive`: a 0/1 per word of the source.

        Raises:
            FileNotFoundError: if a side of a split is not there; it names the file.
            ValueError: if the sides differ in length, or a measured split has an empty line.
        """
        from datasets import Dataset, DatasetDict

        if self._rows is None:
            wanted = [self.evaluate_on] if self.evaluate_only else SPLITS
            pairs = {split: self._read(split) for split in wanted}
            for split in pairs:
                if split != "train":
                    check_full(pairs[split], f"{self.name} {split}")
            if "train" in pairs:
                pairs["train"] = self._to_train_on(pairs)
            limits = {"train": self.train_limit}
            rows = {split: Dataset.from_dict(in_one_line(p)) for split, p in pairs.items()}
            self._rows = DatasetDict(
                {s: self.draw(r, limits.get(s, self.eval_limit)) for s, r in rows.items()}
            )
        return self._rows

    def _to_train_on(self, pairs: Mapping[str, Pairs]) -> Pairs:
        train, empty = without_empty(pairs["train"])
        train, known = without_overlap(train, [pairs[split] for split in SPLITS[1:]])
        if not train["source"]:
            raise ValueError(f"{self.name}: no pair is left to train on")
        self.left_out = {"empty": empty, "in_held_out": known}
        return train

    def prepare(self, tokenizer: PreTrainedTokenizerBase, max_positions: int | None = None) -> None:
        """Tokenises all splits, or finds them in the cache; `told` says what was left out or cut.

        Args:
            tokenizer: any; for the synthetic task a fast one.
            max_positions: of the model; None checks nothing.

        Raises:
            ValueError: if `max_length` is more than `max_positions`, a language token is not
                known, or as `load`.
        """
        self.check_length(max_positions)
        for token in self.language_tokens or ():
            check_language(token, tokenizer, self.name)
        if self.language_tokens is not None:  # part of what names the cached rows
            tokenizer.src_lang, tokenizer.tgt_lang = self.language_tokens  # pyright: ignore
        settings: dict[str, Any] = {"function": encode_pairs, "prefix": self.prefix}
        if self.language_tokens is not None:
            settings["language_tokens"] = list(self.language_tokens)
        for split, rows in self.load().items():
            self._encoded[str(split)] = encode(
                rows, tokenizer, self.max_length, self.cache, **settings
            )
        self.cut, self.target_cut = self.count("cut"), self.count("target_cut")
        self._pad_ids = {"pad_token_id": cast(int | None, tokenizer.pad_token_id) or 0}
        cut = [(self.cut, "sources"), (self.target_cut, "targets")]
        self.told = [*self._left_out(), *(s for c in cut for s in cut_at(self.max_length, *c))]

    def references(self, split: str) -> list[str]:
        """The target texts of a split, in the order of `index`."""
        return self.load()[split]["target"][:]

    def targets_beyond(self, limit: int) -> int:
        """How many of the reported split have more tokens than so many, before they were cut."""
        lengths = self._encoded[self.reported]["target_whole_length"][:]
        return sum(length > limit for length in lengths)

    def train_texts(self) -> Iterator[str]:
        """Yields every text of the train split, to train a tokenizer on."""
        for side in SIDES:
            yield from self.load()["train"][side][:]  # row by row takes a hundred times as long

    def new_tokenizer(self, vocab_size: int) -> PreTrainedTokenizerFast:
        """A byte-level BPE tokenizer trained on both sides of the train split."""
        return train_bpe(self.train_texts(), vocab_size, max(self.max_length, 512))

    def _read(self, split: str) -> Pairs:
        files = [in_texts(pairs, self.lines_per_text) for pairs in self._files(split)]
        return {name: [*chain(*(pairs[name] for pairs in files))] for name in files[0]}

    def _files(self, split: str) -> Iterator[Pairs]:
        """The lines of a split, file by file."""
        if split == self.evaluate_on and self.evaluate_file is not None:
            yield self._parallel(Path(), self.evaluate_file)
        elif self.source == "synthetic":
            count = self.train_examples if split == "train" else self.eval_examples
            rows = generate_translation(count, f"{self.seed}-{split}")
            yield {name: [row[name] for row in rows] for name in rows[0]}
        elif self.source == "hub":
            named = (str(self.hub_path), self.hub_name, split)
            rows = read_hub(*named, lambda found: self.draw(found, self._enough(split)))
            where = f"{self.name} {split}"
            if "translation" not in rows:
                raise ValueError(f"{where} has no column 'translation'; it has: {', '.join(rows)}")
            yield pairs_of(rows["translation"], self.languages, where)
        else:
            named = (self.local_files or {}).get(split, split)
            for stem in [named] if isinstance(named, str) else named:
                yield self._parallel(Path(str(self.local_dir)), stem)

    def _parallel(self, folder: Path, stem: str) -> Pairs:
        pairs = read_parallel(folder, stem, self.languages)
        self.note(find_text(folder / f"{stem}.{language}") for language in self.languages)
        return pairs

    def _enough(self, split: str) -> int | None:
        """Rows of a hub's millions among which `train_limit` are left when some are left out."""
        if split != "train" or self.train_limit is None or self.lines_per_text > 1:
            return None
        return self.train_limit + max(self.train_limit, 0)

    def _left_out(self) -> list[str]:
        reasons = {"empty": "with an empty side", "in_held_out": "that occur in held-out text"}
        return [f"{n} training pairs {reasons[k]} left out" for k, n in self.left_out.items() if n]


def check_language(token: str, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raises ValueError for a language token that the tokenizer does not have; lists the valid."""
    known = [t for t in tokenizer.all_special_tokens if re.fullmatch(r"[a-z]{2,3}_\w+", t)]
    if token not in known:
        valid = ", ".join(sorted(known)) or "none, this tokenizer has no languages"
        raise ValueError(f"{name}: unknown language token {token!r}; valid: {valid}")
