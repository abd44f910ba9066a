"""Parallel text: two files aligned line by line, and what must not be trained on."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

SIDES = ("source", "target")

Pairs = dict[str, list[Any]]  # columns `source` and `target` of texts, and perhaps others


def find_text(path: Path) -> Path:
    """The file itself, or the same with .gz.

    Raises:
        FileNotFoundError: neither is there.
    """
    candidates = [path, path.with_name(f"{path.name}.gz")]
    found = next((p for p in candidates if p.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"no parallel text {path} (nor .gz): each split needs both sides; set TSDTP_DATA_DIR "
            "to the folder of the data sets, or task.data.local_dir to the folder of this one"
        )
    return found


def read_lines(path: Path) -> list[str]:
    """Lines of a UTF-8 text file, gzipped or not, without the spaces around them.

    Raises:
        FileNotFoundError: as `find_text`.
        ValueError: it cannot be read.
    """
    found = find_text(path)
    opener = gzip.open if found.suffix == ".gz" else open
    try:
        with opener(found, "rt", encoding="utf-8-sig", newline="\n") as file:
            # Lines end at \n alone: other separators occur inside sentences.
            lines = file.read().split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read {found} as UTF-8 text: {error}") from error
    return [line.strip() for line in (lines[:-1] if lines[-1] == "" else lines)]


def read_parallel(folder: Path, stem: str, languages: Sequence[str]) -> Pairs:
    """Reads the files `STEM.SOURCE` and `STEM.TARGET` (or .gz).

    Args:
        folder: where they are; the stem may name a folder below it.
        stem: of both.
        languages: the endings of the source's and the target's file.

    Raises:
        FileNotFoundError: if a side is missing.
        ValueError: if the two sides differ in their number of lines.
    """
    paths = [folder / f"{stem}.{language}" for language in languages]
    source, target = (read_lines(path) for path in paths)
    if len(source) != len(target):
        raise ValueError(
            f"{paths[0]} has {len(source)} lines and {paths[1]} {len(target)}: parallel text "
            "needs the same number"
        )
    return {"source": source, "target": target}


def pairs_of(rows: Iterable[Mapping[str, str]], languages: Sequence[str], where: str) -> Pairs:
    """Parallel text from rows that map languages to texts, as the hub has it.

    Raises:
        ValueError: if a row lacks a language.
    """
    pairs: Pairs = {side: [] for side in SIDES}
    for number, row in enumerate(rows):
        for side, language in zip(SIDES, languages, strict=True):
            if not isinstance(row.get(language), str):
                valid = ", ".join(row)
                raise ValueError(f"{where}: row {number} has no {language!r}; it has: {valid}")
            pairs[side].append(row[language].strip())
    return pairs


def without_empty(pairs: Pairs) -> tuple[Pairs, int]:
    """The pairs that have text on both sides, in every line, and how many have not."""
    kept = [
        all(f"{source}\n{target}".split("\n"))
        for source, target in zip(*_sides(pairs), strict=True)
    ]
    return _choose(pairs, kept), kept.count(False)


def check_full(pairs: Pairs, where: str) -> None:
    """Raises ValueError where a split that is measured has no pairs or an empty line."""
    if not pairs["source"]:
        raise ValueError(f"{where} has no lines")
    for side in SIDES:
        lines = "\n".join(pairs[side]).split("\n")
        if "" in lines:
            line = lines.index("") + 1
            raise ValueError(f"{where}: line {line} of the {side} is empty; scores need every line")


def without_overlap(pairs: Pairs, held_out: Iterable[Pairs]) -> tuple[Pairs, int]:
    """The pairs no line of which occurs in held-out text on its side, and how many have one.

    Letter case and runs of spaces do not count as a difference.
    """
    known = {side: set[str]() for side in SIDES}
    for other in held_out:
        for side in SIDES:
            known[side].update(*map(_lines, other[side]))
    kept = [
        known["source"].isdisjoint(_lines(source)) and known["target"].isdisjoint(_lines(target))
        for source, target in zip(*_sides(pairs), strict=True)
    ]
    return _choose(pairs, kept), kept.count(False)


def in_texts(pairs: Pairs, lines: int) -> Pairs:
    """So many consecutive lines to a text, the last of what is left; a text keeps its line ends.

    Args:
        pairs: a line each, and other columns of lists, an entry a word.
        lines: 1 or more.
    """

    def join(column: list[Any]) -> Any:
        return "\n".join(column) if isinstance(column[0], str) else [*chain(*column)]

    return {
        name: [join(column[i : i + lines]) for i in range(0, len(column), lines)]
        for name, column in pairs.items()
    }


def in_one_line(pairs: Pairs) -> Pairs:
    """The same without line ends inside of texts."""
    sides = {side: [text.replace("\n", " ") for text in pairs[side]] for side in SIDES}
    return {**pairs, **sides}


def _sides(pairs: Pairs) -> tuple[list[str], list[str]]:
    return pairs["source"], pairs["target"]


def _lines(text: str) -> list[str]:
    return [" ".join(line.casefold().split()) for line in text.split("\n")]


def _choose(pairs: Pairs, kept: Sequence[bool]) -> Pairs:
    return {
        name: [value for value, keep in zip(column, kept, strict=True) if keep]
        for name, column in pairs.items()
    }
