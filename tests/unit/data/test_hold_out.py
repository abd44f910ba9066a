"""What is held out is nowhere in what stays, not even in parts."""

import json
import runpy
from pathlib import Path

import pandas as pd
import pytest

from tsdtp.data.files import read_file
from tsdtp.data.hold_out import groups_of, hold_out_groups, hold_out_sentences, sentences_of

SCRIPT = Path(__file__).parents[3] / "scripts" / "hold_out.py"
TEXTS = [
    "a film",
    "a dull film of great length",
    "dull film",
    "a film",
    "not a film to see twice",
    "to see",
    "worth the while",
]


def test_a_phrase_belongs_to_every_sentence_that_holds_it():
    assert sentences_of(TEXTS) == [{4}, {1}, {1}, {4}, {4}, {4}, {6}]
    assert sentences_of(["one two", "two one", "one two three"]) == [{2}, {1}, {2}]


def test_no_phrase_of_a_sentence_held_out_is_trained_on():
    frame = pd.DataFrame({"text": TEXTS})
    for seed in range(4):
        train, dev = hold_out_sentences(frame, "text", 1, seed=seed)
        [sentence] = dev["text"]
        assert sentence in (TEXTS[1], TEXTS[4]), "whole ones of five words or more"
        assert not any(f" {text} " in f" {sentence} " for text in train["text"])
    with pytest.raises(ValueError, match="-3 examples out of 2: valid is 1 or more"):
        hold_out_sentences(frame, "text", -3)
    with pytest.raises(ValueError, match="3 examples out of 2: too many"):
        hold_out_sentences(frame, "text", 3)


def test_all_rows_of_a_question_go_together():
    frame = pd.DataFrame({"question": list("aabbbcd"), "row": range(7)})
    train, dev = hold_out_groups(frame, ["question"], 3)
    assert len(dev) >= 3 and len(train) + len(dev) == 7
    assert not {*train["question"]} & {*dev["question"]}
    with pytest.raises(ValueError, match="0 examples out of 7: valid is 1 or more"):
        hold_out_groups(frame, ["question"], 0)
    with pytest.raises(ValueError, match="7 examples held out leave none"):
        hold_out_groups(frame, ["question"], 7)
    with pytest.raises(ValueError, match="8 examples out of 7"):
        hold_out_groups(frame, ["question"], 8)


def test_rows_that_share_either_text_go_together_and_those_that_share_one_with_these():
    frame = pd.DataFrame({"question": list("abbcdd"), "sentence": list("xxyzzw")})
    assert groups_of(frame, ["question", "sentence"]).tolist() == list("aaaccc")
    assert groups_of(frame, ["sentence"]).tolist() == list("xxyzzw")
    for seed in range(4):
        train, dev = hold_out_groups(frame, ["question", "sentence"], 1, seed)
        assert len(dev) == 3
        for column in frame:
            assert not {*train[column]} & {*dev[column]}


def test_rows_that_a_file_cannot_hold_are_refused_before_any_is_written(tmp_path):
    rows = [json.dumps({"sentence": text}) for text in ("one two", "three\tfour", "five six")]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    main = runpy.run_path(str(SCRIPT))["main"]
    with pytest.raises(SystemExit, match=r"error: sentence: a tab or .*three\\tfour"):
        main([f"{tmp_path}/rows.jsonl", f"{tmp_path}/dev", "--groups", "sentence"])
    assert not (tmp_path / "dev").exists()


def test_the_script_writes_files_that_a_task_reads(tmp_path, capsys):
    source = tmp_path / "train.tsv"
    source.write_text("sentence\tlabel\n" + "".join(f'{t} "\t1\n' for t in TEXTS))
    main = runpy.run_path(str(SCRIPT))["main"]
    main([str(source), str(tmp_path / "dev"), "--sentences", "sentence", "--examples", "1"])
    parts = [read_file(tmp_path / "dev" / f"{name}.tsv.gz") for name in ("train", "validation")]
    assert len(parts[1]) == 1 and parts[1]["sentence"].item().endswith(' "')
    assert "-> " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no column 'text'; valid: sentence, label"):
        main([str(source), str(tmp_path), "--groups", "sentence", "text"])


def test_a_phrase_of_several_sentences_leaves_with_any_of_them():
    texts = ["one dull film to see", "so dull a film it is", "dull", "worth the while"]
    assert sentences_of(texts)[2] == {0, 1}
    for seed in range(4):
        train, dev = hold_out_sentences(pd.DataFrame({"text": texts}), "text", 1, seed=seed)
        assert len(dev) == 1 and "dull" not in train["text"].tolist()
        assert "worth the while" in train["text"].tolist()
