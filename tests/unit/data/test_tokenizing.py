import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tsdtp.data import tokenizing
from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.data.tokenizing import encode, encode_pairs, tokenizer_digest

ROWS = {
    "text": ["bad colour and", "unbelievable"],
    "text_pair": ["so what", "the good is bad"],
    "label": [0, 1],
    "decisive": [[1, 0, 0], [1]],
    "decisive_pair": [[0, 1], [0, 1, 0, 1]],
}


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    """Row counts of the batches that really were tokenised."""
    seen: list[int] = []
    original = tokenizing.encode_batch

    def counting(batch, indices, **arguments):
        seen.append(len(indices))
        return original(batch, indices, **arguments)

    monkeypatch.setattr(tokenizing, "encode_batch", counting)
    return seen


def test_decisive_words_become_decisive_tokens(tokenizer, tmp_path):
    rows = encode(Dataset.from_dict(ROWS), tokenizer, 64, tmp_path)
    for row, (first, second) in zip(
        rows, zip(ROWS["decisive"], ROWS["decisive_pair"], strict=True), strict=True
    ):
        source = row["index"]
        words = [*ROWS["text"][source].split(), *ROWS["text_pair"][source].split()]
        flagged = {word for word, flag in zip(words, [*first, *second], strict=True) if flag}
        kept = [i for i, flag in zip(row["input_ids"], row["decisive"], strict=True) if flag]
        assert set(tokenizer.decode(kept).split()) == flagged
        assert row["length"] == len(row["input_ids"]) == len(row["decisive"])


def test_all_pieces_of_a_decisive_word_are_decisive(tokenizer, tmp_path):
    row = encode(Dataset.from_dict(ROWS), tokenizer, 64, tmp_path)[1]
    pieces = tokenizer.tokenize("unbelievable")
    assert len(pieces) > 2
    assert row["decisive"] == [0, *[1] * len(pieces), 0, 0, 1, 0, 1, 0]
    assert row["token_type_ids"] == [0] * (len(pieces) + 2) + [1] * 5


def test_truncation_keeps_tokens_and_truth_aligned(tokenizer, tmp_path):
    rows = encode(Dataset.from_dict(ROWS), tokenizer, 6, tmp_path)
    assert rows["length"][:] == [6, 6]
    assert [len(flags) for flags in rows["decisive"]] == [6, 6]


def test_word_truth_and_plain_text_give_the_same_tokens(tokenizer, tmp_path):
    with_truth = encode(Dataset.from_dict(ROWS), tokenizer, 64, tmp_path)
    plain = {name: ROWS[name] for name in ("text", "text_pair", "label")}
    without = encode(Dataset.from_dict(plain), tokenizer, 64, tmp_path)
    assert with_truth["input_ids"][:] == without["input_ids"][:]
    assert "decisive" not in without.column_names


def test_a_second_prepare_does_not_tokenise_again(make_local, tokenizer, calls):
    make_local().prepare(tokenizer)
    assert sum(calls) == 72
    tokenizer("a call stores settings", truncation=True, max_length=3, padding=True)
    again = make_local()
    again.prepare(tokenizer)
    assert sum(calls) == 72
    assert sum(len(batch["labels"]) for batch in again.loader("train", 8)) == 60


def test_what_changes_the_tokens_is_tokenised_anew(make_local, tokenizer, calls, tmp_path):
    make_local().prepare(tokenizer)
    make_local(max_length=5).prepare(tokenizer)
    assert sum(calls) == 2 * 72
    make_local().prepare(train_tokenizer(["other words"], vocab_size=50))
    assert sum(calls) == 3 * 72
    (tmp_path / "train.tsv").write_text("text\tlabel\nchanged\t0\n")
    make_local().prepare(tokenizer)
    assert sum(calls) == 3 * 72 + 1


def test_the_digest_outlives_calls_and_saving(tokenizer, tmp_path):
    before = tokenizer_digest(tokenizer)
    tokenizer("some text", truncation=True, max_length=4, padding="max_length")
    assert tokenizer_digest(tokenizer) == before
    tokenizer.save_pretrained(tmp_path)
    assert tokenizer_digest(AutoTokenizer.from_pretrained(tmp_path)) == before


PREPARE = """
from tsdtp.data import TextClassificationData
from tsdtp.data.tokenizer import train_tokenizer
data = TextClassificationData(
    name="x", source="synthetic", synthetic="pair", text_columns=["text"], label_names=["a", "b"],
    train_examples=50, eval_examples=5, evaluate_on="holdout", train_limit=20, cache_dir=folder,
)
data.prepare(train_tokenizer(data.train_texts(), vocab_size=120))
"""


def test_another_process_finds_the_cache(tmp_path):
    # Holds for rows, holdout, limit and the trained vocabulary: one that differs gives other files.
    exec(PREPARE, {"folder": str(tmp_path)})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.arrow")}
    code = f"folder = {str(tmp_path)!r}\n{PREPARE}"
    root = Path(tokenizing.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)
    assert len(before) == 2
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.arrow")} == before


def test_unknown_words_at_the_end_are_cut_like_words(tokenizer):
    batch = {"source": ["bad " * 6 + "\u2603 " * 3], "target": ["good " * 9]}
    (ids,) = encode_pairs(batch, [0], tokenizer, 6)["input_ids"]
    assert len(ids) == 6 and tokenizer.unk_token_id not in ids
    assert ids[-1] == tokenizer.sep_token_id


def test_a_text_without_a_token_is_named(tmp_path):
    bare = Tokenizer(WordLevel({"bad": 0, "?": 1}, unk_token="?"))
    bare.pre_tokenizer = Whitespace()
    rows = Dataset.from_dict({"text": ["bad", " "], "label": [0, 1]})
    with pytest.raises(ValueError, match=r"row 1 \(from 0\): a text without a token"):
        encode(rows, PreTrainedTokenizerFast(tokenizer_object=bare), 8, tmp_path)


def test_word_truth_needs_a_fast_tokenizer(tmp_path, tokenizer, monkeypatch):
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(ValueError, match="needs a fast tokenizer, but .* is not one"):
        encode(Dataset.from_dict(ROWS), tokenizer, 64, tmp_path)
