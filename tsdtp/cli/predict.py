"""``tsdtp predict run=FOLDER "text"``: a finished run's answer to texts, one line of JSON each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.text import Text as RichText

from tsdtp.results import read_record

# From the tokens dropped first to those kept to the end; bold and underline tell them apart, too.
_FADE = ("grey42", "grey54", "grey66", "grey78", "grey89")


def main(argv: Sequence[str] | None = None) -> int:
    """Classifies texts given as arguments, in a file, or on standard input.

    Args:
        argv: arguments after ``tsdtp predict``; those of the process by default.

    Returns:
        0, or 2 for a run or text that cannot be used.
    """
    options = _options(argv)
    try:
        _predict(options)
    except (ValueError, OSError) as error:
        print(f"tsdtp predict: {error}", file=sys.stderr)
        return 2
    return 0


def _predict(options: argparse.Namespace) -> None:
    data = _data(options.run)
    texts = _texts(options, len(data["text_columns"]) if "text_columns" in data else None)
    from tsdtp.cli.run import quiet_libraries
    from tsdtp.models import from_pretrained, predict, tokenizer_of

    quiet_libraries()
    model = from_pretrained(options.run, execution="packed")
    tokenizer = tokenizer_of(options.run)
    length = options.max_length or data.get("max_length")
    limits = {"batch_size": options.batch_size, "max_length": length}
    show = _explained if options.explain else _json
    texts, read = tee(texts)  # of which it holds one batch at most
    for text, prediction in zip(texts, predict(model, tokenizer, read, **limits), strict=True):
        show(text, prediction)


def _data(run: str) -> dict[str, Any]:
    """How the run's task reads its texts; empty where no record says so."""
    try:
        return dict(read_record(run).provenance["config"]["task"]["data"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _texts(options: argparse.Namespace, columns: int | None) -> Iterator[str | tuple[str, str]]:
    if options.texts and options.file:
        raise ValueError("texts as arguments or --file, not both")
    if options.texts:
        return (_parts(text, columns) for text in options.texts)
    if options.file and options.file != "-":
        if not Path(options.file).is_file():
            raise ValueError(f"--file {options.file}: no such file")
        return read_texts(open(options.file, "rb"), options.file, columns, options.skip_empty)
    return read_texts(sys.stdin.buffer, "standard input", columns, options.skip_empty)


def read_texts(
    source, name: str, columns: int | None, skip_empty: bool
) -> Iterator[str | tuple[str, str]]:
    """Texts, or pairs with a tab between, a line each, of a file opened as bytes.

    Args:
        source: closed at its end.
        name: of it, for messages.
        columns: texts of an example; None: one or two.
        skip_empty: leaves empty lines out.

    Raises:
        ValueError: for a line that is no such text; names it.
    """
    with source:
        for number, line in enumerate(source, 1):
            try:
                text = line.decode("utf-8" if number > 1 else "utf-8-sig").rstrip("\r\n")
                if text.strip() or not skip_empty:
                    yield _parts(text, columns)
            except ValueError as error:
                raise ValueError(f"{name}, line {number}: {error}") from error


def _parts(line: str, columns: int | None) -> str | tuple[str, str]:
    """A line, or the two texts of a pair with a tab between them."""
    from tsdtp.models.texts import check_text

    first, *rest = line.split("\t")
    if len(rest) > 1:
        raise ValueError("more than one tab; valid: a text, or two with one tab between them")
    if columns is not None and columns != 1 + len(rest):
        valid = "a text without a tab" if columns == 1 else "two texts with a tab between them"
        raise ValueError(f"this run's task has {columns} text(s) an example; valid: {valid}")
    return check_text((first, rest[0]) if rest else first)


def _json(text, prediction) -> None:
    said = "numbers" if prediction.numbers else "probabilities"
    row = {
        "text": text,
        "label": prediction.label,
        said: {k: round(v, 4) for k, v in getattr(prediction, said).items()},
        "tokens_kept": prediction.tokens_kept,
        "kept": prediction.kept,
    }
    if prediction.truncated:
        row["truncated"] = True
    print(json.dumps(row, ensure_ascii=False), flush=True)


def _explained(text, prediction) -> None:
    """The tokens, fainter the earlier they were dropped, with the block that dropped them."""
    layers, line = len(prediction.tokens_kept), RichText()
    for token, stayed in zip(prediction.tokens, prediction.kept_layers, strict=True):
        kept = stayed == layers
        shade = _FADE[min(stayed * len(_FADE) // layers, len(_FADE) - 1)]
        line.append(token, Style(bold=True, underline=True) if kept else Style(color=shade))
        line.append(" " if kept else f"·{stayed + 1} ", Style(dim=True))
    console = Console(highlight=False)
    console.print(RichText(_said(prediction), style="bold"))
    console.print(line)
    legend = "·n: dropped in block n, counted from 1; underlined: kept to the end"
    console.print(RichText(legend, style="dim"))


def _said(prediction) -> str:
    """The class and its probability, each class that is likelier than not, or the numbers."""
    if prediction.numbers:
        return ", ".join(f"{name} {number:.4g}" for name, number in prediction.numbers.items())
    likely = [name for name, p in prediction.probabilities.items() if p > 0.5]
    told = likely if prediction.label in likely else [prediction.label]
    return ", ".join(f"{name} ({100 * prediction.probabilities[name]:.1f} %)" for name in told)


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parser.parse_intermixed_args(argv)
    runs = [text for text in options.texts if text.startswith("run=")]
    if len(runs) != 1:
        parser.error("which run? valid: one run=FOLDER of a finished run or a saved model")
    options.run = runs[0].removeprefix("run=")
    options.texts = [text for text in options.texts if text is not runs[0]]
    return options


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} (valid: 1 or more)")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tsdtp predict", description=__doc__)
    parser.add_argument(
        "texts",
        nargs="*",
        metavar="run=FOLDER | TEXT",
        help="the run, and texts; of a pair, with a tab between the two",
    )
    parser.add_argument("--file", help="a text a line; - or no text at all: standard input")
    parser.add_argument("--skip-empty", action="store_true", help="leave empty lines out")
    parser.add_argument(
        "--explain",
        action="store_true",
        help="show which block dropped each token; the first is 1, in pruning.layers it is 0",
    )
    parser.add_argument("--batch-size", type=_positive, default=32)
    parser.add_argument(
        "--max-length",
        type=_positive,
        help="in tokens; longer texts are cut; default: as in training",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
