"""A development set out of training data, in whole groups.

SST-2 trains on every phrase of its sentences, so a phrase held out at random is known to the model
from the sentence around it; of QNLI's questions and sentences several pairs are there. Settings
chosen on such a set are chosen on training data. Held-out groups leave no row in what is trained
on, nor any text of the columns that they go by.
"""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tsdtp.atomic import write_atomic

Words = tuple[str, ...]


def sentences_of(texts: Sequence[str]) -> list[set[int]]:
    """For each text the rows of the longest texts that hold it; its own where none does.

    A text holds another where that one's words stand in it, side by side.
    """
    words = [tuple(text.split()) for text in texts]
    holders: dict[Words, set[int]] = {}
    owners: list[set[int]] = [set() for _ in texts]
    for row in sorted(range(len(texts)), key=lambda row: -len(words[row])):
        known = holders.get(words[row])
        if known is None:
            for phrase in _phrases(words[row]):
                holders.setdefault(phrase, set()).add(row)
        owners[row] = known or {row}
    return owners


def _phrases(words: Words) -> set[Words]:
    size = len(words)
    return {words[i:j] for i in range(size) for j in range(i + 1, size + 1)}


def hold_out_sentences(
    frame: pd.DataFrame, column: str, examples: int, min_words: int = 5, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draws whole sentences; every phrase of theirs leaves the training rows.

    Args:
        frame: rows of sentences and their phrases.
        column: of the text.
        examples: sentences to draw.
        min_words: of a sentence to draw, at least.
        seed: of the draw.

    Returns:
        The training rows and the development rows.

    Raises:
        ValueError: if there are fewer sentences, none is asked for, or nothing would be left to
            train on.
    """
    owners = sentences_of(frame[column].tolist())
    lengths = frame[column].str.split().str.len()
    long = lengths.ge(min_words).tolist()
    whole = [row for row, own in enumerate(owners) if own == {row} and long[row]]
    drawn = set(_draw(whole, examples, seed))
    stays = [row for row, own in enumerate(owners) if not own & drawn]
    return _checked(frame.iloc[stays], frame.iloc[sorted(drawn)])


def hold_out_groups(
    frame: pd.DataFrame, columns: Sequence[str], examples: int, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draws groups of rows, see `groups_of`, until there are so many rows.

    Args:
        frame: rows.
        columns: whose values make the groups, such as `question` and `sentence`.
        examples: rows to draw, at least.
        seed: of the draw.

    Returns:
        The training rows and the development rows.

    Raises:
        ValueError: if there are fewer rows, none is asked for, or nothing would be left to train
            on.
    """
    _check_count(examples, len(frame))
    groups = groups_of(frame, columns)
    sizes = groups.value_counts().sort_index()
    order = _draw(range(len(sizes)), len(sizes), seed)
    count = int(np.searchsorted(sizes.iloc[order].cumsum(), examples)) + 1
    chosen = groups.isin(sizes.index[order[:count]].tolist())
    return _checked(frame.loc[~chosen], frame.loc[chosen])


def groups_of(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """The group of each row, named by its first value in the first column.

    Rows that share a value of a column are of one group, and so are those that share one with
    these: by question and sentence, pairs of about one paragraph.
    """
    rows = pd.Series(range(len(frame)), frame.index)
    first = [rows.groupby(frame[column], dropna=False).transform("min") for column in columns]
    pairs = (np.tile(rows, len(columns)), np.concatenate(first))
    links = coo_array((np.ones(len(pairs[0])), pairs), shape=(len(rows), len(rows)))
    _, found = connected_components(links, directed=False)
    return cast(pd.Series, frame[columns[0]].groupby(found).transform("min"))


def _checked(train: pd.DataFrame, dev: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    if train.empty:
        raise ValueError(f"{len(dev)} examples held out leave none to train on")
    return train, dev


def _draw(rows: Sequence[int], count: int, seed: int) -> list[int]:
    _check_count(count, len(rows))
    return np.random.default_rng(seed).permutation(np.asarray(rows))[:count].tolist()


def _check_count(examples: int, rows: int) -> None:
    if not 0 < examples <= rows:
        much = "too many" if examples > rows else "valid is 1 or more"
        raise ValueError(f"{examples} examples out of {rows}: {much}")


def check_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows themselves.

    Raises:
        ValueError: a text has a tab or a line end, which a row of `write_split` cannot hold.
    """
    texts = frame.select_dtypes(exclude="number").astype(str)
    for column in texts:
        for text in texts[column][texts[column].str.contains(r"[\t\n\r]")]:
            raise ValueError(f"{column}: a tab or a line end in {text!r}; valid are texts without")
    return frame


def write_split(frame: pd.DataFrame, path: Path) -> Path:
    """Writes rows, see `check_rows`, to a `.tsv.gz`, complete or not at all."""
    text = frame.to_csv(sep="\t", index=False, quoting=3, escapechar=None, lineterminator="\n")
    return write_atomic(path, gzip.compress(text.encode(), mtime=0))
