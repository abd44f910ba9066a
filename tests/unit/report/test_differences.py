"""Differences in BLEU: sacrebleu's own figures, one by one, over seeds and over sentences."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
from sacrebleu.metrics.bleu import BLEU

from tsdtp.cli.report import main
from tsdtp.report.answers import Run, judged, read_runs
from tsdtp.report.comparisons import compare
from tsdtp.results import REFERENCES, TRANSLATIONS, read_records, write_record
from tsdtp.tasks.translation import paired_p_value

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree"]
RIGHT = [" ".join(random.Random(row).choices(WORDS, k=9)) for row in range(60)]


def garbled(every: int, first: int = 0) -> list[str]:
    """The references with a word in the middle wrong in every so many."""
    wrong = [text.split() for text in RIGHT]
    for words in wrong[first::every]:
        words[4] = "?"
    return [" ".join(words) for words in wrong]


def run(pruning: str, written: list[str], seed: int = 0, right: list[str] = RIGHT) -> Run:
    identity = {"task": "t", "model": "m", "pruning": pruning, "budget": None, "seed": seed}
    return Run(identity, judged(written, right))


def score(written: list[str]) -> float:
    return BLEU().corpus_score(written, [RIGHT]).score


def test_the_difference_is_that_of_sacrebleus_scores():
    written, whole = garbled(2), garbled(5)
    [row] = compare([run("ts_dtp", written), run("none", whole)]).to_dict("records")
    assert (row["metric"], row["seeds"], row["n"]) == ("bleu", 1, 60)
    assert row["difference"] == pytest.approx(score(written) - score(whole))
    assert row["low"] < row["difference"] < row["high"] < 0 and np.isnan(row["seed_sd"])
    assert row["p"] == 1 / 2001, "of no sample"


def test_the_interval_is_that_of_sentences_drawn_together():
    # Both fail at the same half of the sentences, so that either score hangs on who is drawn.
    failed = [text if row % 2 else "?" * 9 for row, text in enumerate(RIGHT)]
    worse = [text if row % 8 else "? ?" for row, text in enumerate(failed)]
    [row] = compare([run("ts_dtp", worse), run("none", failed)]).to_dict("records")
    alone = BLEU().corpus_score(failed, [RIGHT], n_bootstrap=500)
    assert 0 < row["high"] - row["low"] < alone._ci < alone.score / 4
    one, other = garbled(4), garbled(4, first=1)
    [row] = compare([run("ts_dtp", one), run("none", other)]).to_dict("records")
    assert row["p"] == pytest.approx(paired_p_value(one, other, RIGHT, 2000), abs=0.1)
    assert row["low"] < 0 < row["high"]


def test_seeds_count_by_the_mean_of_their_scores():
    pairs = [(garbled(2), RIGHT), (garbled(3), garbled(6, first=1)), (garbled(4), RIGHT)]
    runs = [run("ts_dtp", pairs[seed][0], seed) for seed in range(3)]
    runs += [run("none", pairs[seed][1], seed) for seed in (2, 0, 1)]
    [row] = compare(runs).to_dict("records")
    each = [score(one) - score(other) for one, other in pairs]
    assert row["difference"] == pytest.approx(np.mean(each))
    assert row["seed_sd"] == pytest.approx(np.std(each, ddof=1)) and row["seed_p"] < 0.2


def test_the_same_translations_differ_by_nothing():
    [row] = compare([run("ts_dtp", RIGHT), run("none", RIGHT)]).to_dict("records")
    assert (row["difference"], row["low"], row["high"], row["p"]) == (0, 0, 0, 1)


def test_other_references_are_not_compared():
    others = [*RIGHT[1:], RIGHT[0]]
    assert compare([run("ts_dtp", RIGHT), run("none", RIGHT, right=others)]).empty
    classes = Run(run("none", RIGHT).identity, pd.DataFrame({"index": [0], "label": 1}))
    assert compare([run("ts_dtp", RIGHT), classes]).empty, "nor is accuracy"


def test_words_are_those_of_the_language():
    [counts] = judged(["甲乙丙丁"], ["甲乙丙丁"], "zh")["counts"]
    assert counts == (4, 3, 2, 1, 4, 3, 2, 1, 4, 4)
    assert judged(["甲乙丙丁"], ["甲乙丙丁"])["counts"][0] == (1, 0, 0, 0, 1, 0, 0, 0, 1, 1)


@pytest.fixture
def folder(tmp_path, make_record):
    """Two translators' records, what they wrote and the references, beside a classifier's."""
    quality = {"accuracy": None, "bleu": 30.0, "chrf": 50.0, "signature": "tok:13a"}
    for name, written in (("ts_dtp", garbled(2)), ("none", garbled(4))):
        record = make_record(name, task="multi30k", quality=quality)
        del record.quality["accuracy"]
        record.provenance["config"] = {"task": {"data": {"languages": ["en", "zh_CN"]}}}
        write_record(tmp_path / name, record)
        for file, lines in ((TRANSLATIONS, written), (REFERENCES, RIGHT)):
            (tmp_path / name / file).write_text("".join(f"{line}\n" for line in lines))
    return tmp_path


def test_translations_are_read_beside_their_records(folder):
    runs, warnings = read_runs(read_records(folder)[0], folder)
    assert not warnings and [run.metric for run in runs] == ["bleu", "bleu"]
    assert runs[0].answers["prediction"].tolist() == garbled(4)
    (folder / "none" / REFERENCES).write_text("one\n")
    [found], [warning] = read_runs(read_records(folder)[0], folder)
    assert found.identity["pruning"] == "ts_dtp"
    assert warning.startswith(f"none/{TRANSLATIONS}: no answers can be read (")
    assert "60 lines, references.txt 1)" in warning
    (folder / "none" / TRANSLATIONS).unlink()
    assert read_runs(read_records(folder)[0], folder)[1] == [
        f"none/{TRANSLATIONS}: not there; its run is not compared"
    ]


def test_the_report_has_differences_in_bleu(folder):
    assert main([str(folder), "--quiet"]) == 0
    [row] = pd.read_csv(folder / "paired.csv").to_dict("records")
    assert row["metric"] == "bleu" and -20 < row["difference"] < -2
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"<td>{row['difference']:+.2f}</td><td>{row['low']:+.2f} to {row['high']:+.2f}" in page
