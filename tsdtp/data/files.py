"""Rows from local files: tsv, csv, jsonl and parquet, each gzipped or not."""

from __future__ import annotations

import csv
import gzip
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

AS_WRITTEN: dict[str, Any] = {"dtype": False, "convert_dates": False, "encoding": "utf-8-sig"}


def _table(path: Path, **how: Any) -> pd.DataFrame:
    """All cells as text; rows are as long as the header."""
    csv.field_size_limit(2**31 - 1)  # a text may be a book
    as_text: Any = {"dtype": str, "keep_default_na": False}
    # With index_col=None a longer first row would shift the columns without a word, and the
    # faster engine would fill a row that is too short with empty texts.
    frame = pd.read_csv(path, index_col=False, engine="python", **as_text, **how)
    if (short := frame.isna().any(axis=1)).any():
        raise ValueError(f"row {int(short.argmax())} has fewer cells than its header")
    return frame


def _parquet(path: Path) -> pd.DataFrame:
    """Its own compression is inside the file; pandas looks for no other around it."""
    if path.suffix != ".gz":
        return pd.read_parquet(path)
    with gzip.open(path) as file:
        return pd.read_parquet(file)


READERS = {
    # No quote handling in tsv: sentences hold lone quotes, and a reader that minds them swallows
    # the lines up to the next one.
    ".tsv": lambda path: _table(path, sep="\t", quoting=csv.QUOTE_NONE),
    ".csv": _table,
    ".jsonl": lambda path: pd.read_json(path, lines=True, **AS_WRITTEN),
    ".parquet": _parquet,
}
SPLIT_FILES = {
    "train": ("train",),
    "validation": ("validation", "dev", "test"),
    "test": ("test",),
}


def suffix_of(path: Path) -> str:
    """The suffix that tells the format: `.tsv` for `train.tsv` and for `train.tsv.gz`."""
    return path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix


def read_file(path: Path) -> pd.DataFrame:
    """Reads one tsv, csv, jsonl or parquet file, gzipped or not.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if its format is not known, or it cannot be read as what its name says.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no data file {path}; set the environment variable TSDTP_DATA_DIR to the folder of "
            "the data sets, or task.data.local_dir to the folder of this one"
        )
    if suffix_of(path) not in READERS:
        valid = ", ".join(READERS)
        raise ValueError(f"cannot read {path}: unknown format; valid: {valid}, each also .gz")
    try:
        with warnings.catch_warnings():
            # A first row of more cells than the header has: the others would be cut to fit.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return READERS[suffix_of(path)](path)
    except pd.errors.ParserWarning:
        raise ValueError(f"cannot read {path}: rows have more cells than its header") from None
    except (ValueError, OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"cannot read {path} as {suffix_of(path)}: {reason}") from error


def find_files(
    folder: Path, split: str, names: Mapping[str, str | Sequence[str]] | None = None
) -> list[Path]:
    """Gives the files of a split: those named, else the one with a usual name (`dev.tsv.gz`).

    Args:
        folder: where they are.
        split: `train`, `validation`, `test` or any other.
        names: file name or names by split.

    Raises:
        FileNotFoundError: if there is none with a usual name.
        ValueError: if files are named, but none for this split.
    """
    if names is not None:
        if split not in names:
            raise ValueError(f"no split {split!r}; valid: {', '.join(names)}, holdout")
        named = names[split]
        return [folder / name for name in ([named] if isinstance(named, str) else named)]
    stems = SPLIT_FILES.get(split, (split,))
    for stem in stems:
        endings = [f"{suffix}{gz}" for suffix in READERS for gz in ("", ".gz")]
        found = [folder / f"{stem}{ending}" for ending in endings]
        if any(map(Path.is_file, found)):
            return [next(filter(Path.is_file, found))]
    raise FileNotFoundError(
        f"no {' or '.join(f'{stem}.*' for stem in stems)} ({', '.join(READERS)}, each also .gz) in "
        f"{folder}; is the environment variable TSDTP_DATA_DIR right?"
    )


def read_columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """Reads the columns that are needed of a file.

    Raises:
        FileNotFoundError, ValueError: as `read_file`; also if the file lacks one of them.
    """
    frame = read_file(path)
    missing = [name for name in names if name not in frame.columns]
    if missing:
        has = ", ".join(map(str, frame.columns))
        raise ValueError(f"{path} has no column {missing[0]!r}; it has: {has}")
    return frame.filter(names)


def read_local(files: Sequence[Path], text_columns: Sequence[str], label_column: str) -> dict:
    """Reads and joins the files of a split; of each only the columns needed, so others may differ.

    Raises:
        FileNotFoundError, ValueError: as `read_columns`.
    """
    needed = [*text_columns, label_column]
    frames = [read_columns(path, needed) for path in files]
    return {name: sum((frame[name].tolist() for frame in frames), []) for name in needed}
