"""Splits a file of training data in two: to train on, and to choose settings on.

python scripts/hold_out.py data/sst2/train.tsv.gz data/sst2_dev --sentences sentence
python scripts/hold_out.py data/qnli/train_subset.tsv.gz data/qnli_dev --groups question
tsdtp train task=sst2 task.data.source=local task.data.local_dir=data/sst2_dev
"""

import argparse
import sys
from pathlib import Path

from tsdtp.data.files import read_file
from tsdtp.data.hold_out import hold_out_groups, hold_out_sentences, write_split


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("folder", type=Path, help="where train.tsv.gz and validation.tsv.gz go")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--sentences", metavar="COLUMN", help="with all phrases of theirs")
    how.add_argument("--groups", metavar="COLUMN", help="with all rows of the same value")
    parser.add_argument("--examples", type=int, default=2000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Writes both files and prints their sizes."""
    args = parse(arguments)
    draw = hold_out_sentences if args.sentences else hold_out_groups
    column = args.sentences or args.groups
    try:
        frame = read_file(args.file)
        if column not in frame:
            raise ValueError(f"no column {column!r}; valid: {', '.join(frame)}")
        parts = draw(frame, column, args.examples, seed=args.seed)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
    for name, part in zip(("train", "validation"), parts, strict=True):
        print(f"{len(part):7}  -> {write_split(part, args.folder / f'{name}.tsv.gz')}")


if __name__ == "__main__":
    main()
