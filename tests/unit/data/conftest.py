"""Small data sets and a tokenizer, made on the spot."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tsdtp.data import TextClassificationData
from tsdtp.data.tokenizer import train_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    return train_tokenizer(
        [
            "good bad and so on",
            "what is the colour of it",
            "a b c d e f g h i j k l m n o p q r s t u v w x y z",
        ],
        vocab_size=200,
    )


@pytest.fixture
def make_local(tmp_path: Path) -> Callable[..., TextClassificationData]:
    """Makes a data object over 60 + 12 rows of growing length in a tsv."""
    for split, rows in (("train", 60), ("validation", 12)):
        lines = [f"{'word ' * (1 + n % 9)}{n}\t{n % 2}\t{n}" for n in range(rows)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(["text\tlabel\tidx", *lines]) + "\n")

    def make(**changes) -> TextClassificationData:
        arguments = {
            "name": "toy",
            "source": "local",
            "local_dir": str(tmp_path),
            "text_columns": ["text"],
            "label_names": ["no", "yes"],
            "cache_dir": str(tmp_path / "cache"),
        }
        return TextClassificationData(**(arguments | changes))

    return make


@pytest.fixture
def make_synthetic(tmp_path: Path) -> Callable[..., TextClassificationData]:
    """Makes a data object over a small synthetic task."""

    def make(kind: str, **changes) -> TextClassificationData:
        arguments = {
            "name": kind,
            "source": "synthetic",
            "synthetic": kind,
            "text_columns": ["text"],
            "label_names": ["a", "b"],
            "train_examples": 200,
            "eval_examples": 40,
            "cache_dir": str(tmp_path / "cache"),
        }
        return TextClassificationData(**(arguments | changes))

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets; skips where there is none."""
    beside = Path(__file__).parents[4] / "shared" / "data"
    folder = Path(os.environ.get("TSDTP_DATA_DIR", beside))
    if not (folder / "qnli" / "train_subset.tsv.gz").is_file():
        pytest.skip(f"no real data in {folder}; set TSDTP_DATA_DIR to run this test")
    return folder
