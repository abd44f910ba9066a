"""Builds more QNLI-like training pairs from SQuAD text, free of anything that validation holds.

    python scripts/build_qnli_pairs.py data/qnli/pairs.tsv.gz --data-dir data
    tsdtp train task=qnli task.data.source=local \\
        'task.data.local_files.train=[train_subset.tsv.gz,pairs.tsv.gz]'
"""

import argparse
import itertools
import os
import sys
from pathlib import Path

from tsdtp.data.squad_pairs import (
    positive_pairs,
    questions_and_sentences,
    squad_pairs,
    without_leaks,
    write_pairs,
)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    data_dir = Path(os.environ.get("TSDTP_DATA_DIR", "data"))
    parser.add_argument("output", type=Path, help="the .tsv.gz to write")
    parser.add_argument("--data-dir", type=Path, default=data_dir, help="default: %(default)s")
    parser.add_argument("--squad", default="squad/train-v1.1.first12articles.json.gz")
    parser.add_argument("--positives", default="squad/nqg_test_pairs.tsv.gz")
    parser.add_argument(
        "--validation",
        nargs="+",
        default=["qnli/validation.tsv.gz"],
        help="no text of theirs is in a pair; rows held out of the training data belong here, too",
    )
    parser.add_argument("--train", default="qnli/train_subset.tsv.gz")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Builds the pairs and prints how many there are."""
    args = parse(arguments)
    try:
        files = [args.data_dir / name for name in args.validation]
        validation = [pair for file in files for pair in questions_and_sentences(file)]
        train = questions_and_sentences(args.data_dir / args.train)
        pairs = itertools.chain(
            squad_pairs(args.data_dir / args.squad), positive_pairs(args.data_dir / args.positives)
        )
        counts = write_pairs(without_leaks(pairs, validation, train), args.output)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f"error: {error}")
    for name, count in sorted(counts.items()):
        print(f"{name:24} {count:6}")
    print(f"{'total':24} {counts.total():6}  -> {args.output}")


if __name__ == "__main__":
    main()
