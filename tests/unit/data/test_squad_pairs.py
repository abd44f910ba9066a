import gzip
import json
import runpy
from pathlib import Path

import pytest

from tsdtp.data.files import read_file
from tsdtp.data.squad_pairs import (
    Pair,
    overlap,
    positive_pairs,
    split_sentences,
    squad_pairs,
    squeeze,
    without_leaks,
    write_pairs,
)

SCRIPT = Path(__file__).parents[3] / "scripts" / "build_qnli_pairs.py"
CONTEXT = "The dome is gold. A statue of J. Smith faces the hall. It was built in 1858 for Mr. Poe."


@pytest.fixture
def squad_file(tmp_path) -> Path:
    def qa(question, answer):
        start = CONTEXT.index(answer)
        return {"question": question, "answers": [{"answer_start": start, "text": answer}]}

    questions = [qa("What faces the gold hall?", "A statue of J. Smith"), qa("When?", "1858")]
    questions += [qa("What runs over a stop?", "gold. A statue")]
    data = {"data": [{"paragraphs": [{"context": CONTEXT, "qas": questions}]}]}
    path = tmp_path / "squad.json.gz"
    path.write_bytes(gzip.compress(json.dumps(data).encode()))
    return path


def test_sentences_are_split_at_stops_that_end_them():
    sentences = list(split_sentences(CONTEXT))
    expected = ["The dome is gold.", "A statue of J. Smith faces the hall."]
    assert [text for _, text in sentences] == [*expected, "It was built in 1858 for Mr. Poe."]
    assert all(CONTEXT[start:].startswith(text) for start, text in sentences)


def test_overlap_counts_content_words_of_the_question():
    assert overlap("What is the gold dome?", "A dome of gold.") == 1
    assert overlap("What is the gold dome?", "The gold is old.") == 0.5
    assert overlap("What is it?", "It is.") == 0


def test_the_sentence_with_the_answer_is_positive_and_the_closest_other_negative(squad_file):
    pairs = list(squad_pairs(squad_file))
    question = "What faces the gold hall?"
    assert pairs[:2] == [
        Pair(question, "A statue of J. Smith faces the hall.", 0, "squad"),
        Pair(question, "The dome is gold.", 1, "squad"),
    ]
    assert [pair.question for pair in pairs] == [question, question, "When?", "When?"]


def test_a_question_without_an_answer_is_left_out(tmp_path, squad_file):
    content = json.loads(gzip.decompress(squad_file.read_bytes()))
    known = [*squad_pairs(squad_file)]
    content["data"][0]["paragraphs"][0]["qas"].append({"question": "Why?", "answers": []})
    (tmp_path / "two.json").write_text(json.dumps(content))
    assert [*squad_pairs(tmp_path / "two.json")] == known


def test_half_a_file_is_named(tmp_path, squad_file):
    packed = squad_file.read_bytes()
    (tmp_path / "half.json.gz").write_bytes(packed[: len(packed) // 2])
    for file in (tmp_path / "half.json.gz", tmp_path):
        with pytest.raises(ValueError, match=f"{file}: not a file of SQuAD's"):
            next(squad_pairs(file))


def test_positives_get_a_negative_that_answers_no_such_question(tmp_path):
    lines = [
        "question\tsentence",
        "who built the hall ?\tthe hall was built by poe -lrb- 1858 -rrb- .",
        "who built the hall ?\tpoe built the hall alone .",
        "who owns the hall ?\tthe town owns the hall .",
        "what is gold ?\tthe dome is gold .",
    ]
    (tmp_path / "found.tsv").write_text("\n".join(lines))
    pairs = list(positive_pairs(tmp_path / "found.tsv"))
    assert pairs[0] == ("who built the hall ?", "the hall was built by poe ( 1858 ) .", 0, "found")
    assert pairs[1].sentence == pairs[3].sentence == "the town owns the hall ."
    assert [pair.label for pair in pairs] == [0, 1] * 4
    near = positive_pairs(tmp_path / "found.tsv", window=1)
    assert list(near)[-1].sentence == "the town owns the hall ."


def pair(question, positive, negative):
    return [Pair(question, positive, 0, "s"), Pair(question, negative, 1, "s")]


def test_leaks_are_dropped_however_they_are_spelt():
    pairs = [
        *pair("Where is Rome ?", "fine one .", "fine two ."),
        *pair("who is poe?", "The DOME is gold -lrb- old -rrb-", "fine three"),
        *pair("what is gold?", "fine four", "the dome   is gold (old)."),
        *pair("In train?", "fine five", "fine six"),
        *pair("new?", "fine seven", "fine eight"),
        *pair("New ?", "fine nine", "fine ten"),
    ]
    validation = [("where is  rome?", "x y z"), ("other?", "The dome is gold (old).")]
    kept = list(without_leaks(pairs, validation, [("in train ?", "whatever")]))
    assert kept == pair("new?", "fine seven", "fine eight")


def test_written_pairs_read_back_and_are_the_same_bytes_each_time(tmp_path):
    pairs = [*pair('a "lone quote?', "yes", "no"), *pair("b?", "c", "d")]
    counts = write_pairs(pairs, tmp_path / "one" / "pairs.tsv.gz")
    write_pairs(pairs, tmp_path / "two" / "other.tsv.gz")
    assert counts == {"s/0": 2, "s/1": 2}
    frame = read_file(tmp_path / "one" / "pairs.tsv.gz")
    assert frame.columns.tolist() == ["question", "sentence", "label", "idx", "source"]
    assert frame["question"].tolist() == ['a "lone quote?'] * 2 + ["b?"] * 2
    assert frame["idx"].tolist() == ["0", "1", "2", "3"]
    assert [*(tmp_path / "one").iterdir()] == [tmp_path / "one" / "pairs.tsv.gz"]
    first = (tmp_path / "one" / "pairs.tsv.gz").read_bytes()
    assert first == (tmp_path / "two" / "other.tsv.gz").read_bytes()


def test_a_failure_leaves_the_old_file_alone(tmp_path):
    def broken():
        yield from pair("a?", "b", "c")
        raise ValueError("stop")

    (tmp_path / "pairs.tsv.gz").write_bytes(b"old")
    with pytest.raises(ValueError, match="stop"):
        write_pairs(broken(), tmp_path / "pairs.tsv.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.tsv.gz"]
    assert (tmp_path / "pairs.tsv.gz").read_bytes() == b"old"


def run(*arguments):
    """Runs the script in this process; returns nothing, prints the counts."""
    runpy.run_path(str(SCRIPT))["main"]([str(argument) for argument in arguments])


def test_the_script_names_a_missing_file_in_one_line(tmp_path):
    with pytest.raises(SystemExit, match="error: no data file .*validation.tsv.gz") as error:
        run(tmp_path / "out.tsv.gz", "--data-dir", tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("validation", "squad", "message"),
    [
        ("question\ttext\nq?\tt\n", "{}", "validation.tsv has no column 'sentence'; it has: quest"),
        ("question\tsentence\nq?\tt\n", "{}", "squad.json: not a file of SQuAD's .'data'"),
        ("question\tsentence\nq?\tt\n", "[not json", "squad.json: not a file of SQuAD's"),
        ("question\tsentence\nq?\tt\n", '{"data": [{}]}', "squad.json: not a file .*'paragraphs'"),
    ],
)
def test_the_script_says_what_a_file_lacks(tmp_path, validation, squad, message):
    (tmp_path / "validation.tsv").write_text(validation)
    (tmp_path / "squad.json").write_text(squad)
    files = ("--validation", "validation.tsv", "--train", "validation.tsv", "--squad", "squad.json")
    with pytest.raises(SystemExit, match=message) as error:
        run(tmp_path / "out.tsv.gz", "--data-dir", tmp_path, *files)
    assert "\n" not in str(error.value) and not (tmp_path / "out.tsv.gz").exists()


def test_real_pairs_are_many_balanced_and_free_of_validation(real_data, tmp_path, capsys):
    run(tmp_path / "pairs.tsv.gz", "--data-dir", real_data)
    frame = read_file(tmp_path / "pairs.tsv.gz")
    assert f"total {len(frame)}" in " ".join(capsys.readouterr().out.split())
    assert 10_000 < len(frame) < 30_000
    assert (frame["label"] == "0").sum() == (frame["label"] == "1").sum()
    validation = read_file(real_data / "qnli" / "validation.tsv.gz")
    train = read_file(real_data / "qnli" / "train_subset.tsv.gz")
    for column in ("question", "sentence"):
        assert not set(map(squeeze, frame[column])) & set(map(squeeze, validation[column]))
    assert not set(map(squeeze, frame["question"])) & set(map(squeeze, train["question"]))


def test_no_text_of_further_rows_is_in_a_pair(tmp_path, squad_file):
    files = {"validation": "other ?\tanother", "train": "b\tc"}
    files["held"] = "else ?\tit was built in 1858 for mr poe"
    for name, row in files.items():
        (tmp_path / f"{name}.tsv").write_text(f"question\tsentence\n{row}\n")
    common = ["--data-dir", tmp_path, "--squad", squad_file, "--train", "train.tsv"]
    common += ["--positives", "train.tsv", "--validation", "validation.tsv"]
    run(tmp_path / "all.tsv.gz", *common)
    run(tmp_path / "fewer.tsv.gz", *common, "held.tsv")
    one, other = (read_file(tmp_path / f"{name}.tsv.gz") for name in ("all", "fewer"))
    assert {*one["question"]} == {"What faces the gold hall?", "When?"}
    assert {*other["question"]} == {"What faces the gold hall?"}


def test_a_sentence_with_the_answer_in_another_case_is_no_negative(tmp_path):
    context = "The Dome of the hall is gold. A dome is round. The hall is old."
    answer = {"answer_start": context.index("Dome"), "text": "Dome"}
    questions = [{"question": "What part of the hall is round or gold?", "answers": [answer]}]
    content = {"data": [{"paragraphs": [{"context": context, "qas": questions}]}]}
    (tmp_path / "squad.json").write_text(json.dumps(content))
    positive, negative = squad_pairs(tmp_path / "squad.json")
    assert positive.sentence == "The Dome of the hall is gold."
    assert negative.sentence == "The hall is old."
