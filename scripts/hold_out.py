"""Splits a file of training data in two: to train on, and to choose settings on.

python scripts/hold_out.py data/sst2/train.tsv.gz data/sst2_dev --sentences sentence
python scripts/hold_out.py data/qnli/train_subset.tsv.gz data/qnli_dev --groups question sentence
tsdtp train task=sst2 task.data.source=local task.data.local_dir=data/sst2_dev
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from tsdtp.data.files import read_file
from tsdtp.data.hold_out import (
    check_rows,
    hold_out_groups,
    hold_out_sentences,
    write_split,
)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path, help="where train.tsv.gz and validation.tsv.gz go")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--sentences", metavar="COLUMN", help="with all phrases of theirs")
    help_groups = (
        "with all rows that share a value of any of them, and all that share one with these"
    )
    how.add_argument("--groups", metavar="COLUMN", nargs="+", help=help_groups)
    parser.add_argument("--examples", type=int, default=2000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Writes both files and prints their sizes."""
    args = parse(arguments)
    try:
        for name, part in zip(("train", "validation"), split(args), strict=True):
            print(f"{len(part):7}  -> {write_split(part, args.folder / f'{name}.tsv.gz')}")
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")


def split(args: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to train on and those held out, as the command line says."""
    frame = check_rows(read_file(args.file))
    for column in args.groups or [args.sentences]:
        if column not in frame:
            raise ValueError(f"no column {column!r}; valid: {', '.join(frame)}")
    if args.sentences:
        return hold_out_sentences(frame, args.sentences, args.examples, seed=args.seed)
    return hold_out_groups(frame, args.groups, args.examples, seed=args.seed)


if __name__ == "__main__":
    main()
