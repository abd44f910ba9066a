"""`tsdtp predict`: a run's answers on the command line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
import torch
from tiny import make_model

from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.models import prune

LINE = "the film is brilliant and not dull"


@pytest.fixture
def run(trained):
    return f"run={trained('pruning=topk', 'pruning.budget=0.6')}"


def rows(outcome) -> list[dict]:
    assert outcome.code == 0, outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def test_texts_files_and_standard_input_give_the_same(tsdtp, run, monkeypatch, tmp_path):
    by_argument = rows(tsdtp("predict", run, LINE, "a b"))
    assert [row["text"] for row in by_argument] == [LINE, "a b"]
    for row in by_argument:
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
        assert set(row["probabilities"]) == {"negative", "positive"}
        assert len(row["kept"]) == row["tokens_kept"][-1] and row["kept"][0] == "[CLS]"
    text = f"\ufeff{LINE}\r\na b\n".encode()
    (tmp_path / "texts").write_bytes(text)
    assert rows(tsdtp("predict", run, "--file", "texts", "--batch-size", "1")) == by_argument
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert rows(tsdtp("predict", run)) == by_argument
    (row,) = rows(tsdtp("predict", run, LINE, "--max-length", "4"))
    assert row["truncated"] and row["tokens_kept"][0] <= 4


def test_texts_are_cut_where_the_run_cut_its_own(tsdtp, trained):
    run = f"run={trained('task.data.max_length=8')}"
    (row,) = rows(tsdtp("predict", run, LINE * 3))
    assert row["truncated"] and row["tokens_kept"][0] == 8
    assert rows(tsdtp("predict", run, LINE * 3, "--max-length", "12"))[0]["tokens_kept"][0] == 12


def test_pairs_are_read_where_the_task_has_them_or_no_record_says(tsdtp, trained):
    run = f"run={trained('task=synthetic_pair')}"
    (row,) = rows(tsdtp("predict", run, "a\tb"))
    assert row["text"] == ["a", "b"]
    assert "two texts with a tab between" in tsdtp("predict", run, "a").err
    Path(run.removeprefix("run="), "metrics.json").unlink()
    assert len(rows(tsdtp("predict", run, "a", "a\tb"))) == 2


def test_explained_tokens_say_which_block_dropped_them(tsdtp, run):
    (row,) = rows(tsdtp("predict", run, LINE))
    outcome = tsdtp("predict", run, LINE, "--explain")
    assert outcome.code == 0 and outcome.out.startswith(f"{row['label']} (")
    line = " ".join(outcome.out.splitlines()[1:-1]).split()  # a narrow terminal folds it
    assert [token for token in line if "·" not in token] == row["kept"]
    assert sum(token.endswith("·1") for token in line) == len(line) - row["tokens_kept"][0]
    assert "block n, counted from 1" in outcome.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("names", "head", "logits", "answer", "told"),
    [
        (["score"], {}, [-1.5], {"numbers": {"score": -1.5}}, "score -1.5"),
        (
            ["rude", "long", "sad"],
            {"problem_type": "multi_label_classification"},
            [3.0, -3.0, 0.5],
            {"probabilities": {"rude": 0.9526, "long": 0.0474, "sad": 0.6225}},
            "rude (95.3 %), sad (62.2 %)",
        ),
    ],
)
def test_numbers_and_classes_by_themselves_are_told(tsdtp, names, head, logits, answer, told):
    tokenizer = train_tokenizer([LINE], 100)
    plain = make_model("bert", id2label=dict(enumerate(names)), **head)
    plain.classifier.weight.data.zero_()
    plain.classifier.bias.data = torch.tensor(logits)
    model = prune(plain, "none", tokenizer=tokenizer)
    model.save_pretrained("saved", tokenizer)
    (row,) = rows(tsdtp("predict", "run=saved", LINE))
    assert {k: row[k] for k in row.keys() & {"numbers", "probabilities"}} == answer
    assert row["label"] == names[0]
    explained = tsdtp("predict", "run=saved", LINE, "--explain").out
    assert explained.splitlines()[0] == told


def test_empty_lines_are_left_out_where_asked(tsdtp, run, tmp_path):
    (tmp_path / "texts").write_text("good\n\n \nbad\n")
    outcome = tsdtp("predict", run, "--file", "texts", "--skip-empty")
    assert outcome.code == 0 and len(outcome.out.splitlines()) == 2
    stopped = tsdtp("predict", run, "--file", "texts")
    assert stopped.code == 2 and "texts, line 2: an empty text" in stopped.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "which run?"),
        (("run=nowhere", "a"), "no such folder"),
        (("RUN", ""), "empty"),
        (("RUN", "a\0b"), "NUL"),
        (("RUN", "a\tb\tc"), "more than one tab"),
        (("RUN", "a\t1"), "has 1 text(s) an example; valid: a text without a tab"),
        (("RUN", "caf\udce9"), "not UTF-8: 'caf\\udce9'"),
        (("RUN", "a", "--batch-size", "0"), "1 or more"),
        (("RUN", "a", "--max-length", "1"), "max_length=1: valid is 4 or more"),
        (("RUN", "a", "--file", "texts"), "not both"),
        (("RUN", "--file", "missing"), "no such file"),
        (("RUN", "--file", "latin1"), "latin1, line 2: 'utf-8' codec"),
    ],
)
def test_what_cannot_be_read_is_named(tsdtp, run, tmp_path, arguments, message):
    (tmp_path / "texts").write_text("a\n")
    (tmp_path / "latin1").write_bytes(b"fine\ncaf\xe9\n")
    outcome = tsdtp("predict", *[run if a == "RUN" else a for a in arguments])
    assert outcome.code == 2 and message in outcome.err
    assert "Traceback" not in outcome.err
