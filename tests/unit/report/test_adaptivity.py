"""What is kept of short and long, easy and hard texts: known answers."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tsdtp.report.adaptivity import adaptivity
from tsdtp.report.answers import Run

TOKENS = np.arange(10, 50)


def run(pruning: str, kept, probability=0.9, **keys) -> Run:
    """A run over 40 texts of 10 to 49 tokens."""
    identity = {"task": "t", "model": "m", "pruning": pruning, "seed": 0, **keys}
    columns = {"label": 1, "prediction": 1, "tokens": TOKENS, "kept": kept}
    table = pd.DataFrame({"index": range(40), **columns, "probability": probability})
    return Run(identity, table)


def test_a_fixed_fraction_is_the_same_in_every_quarter():
    (row,) = adaptivity([run("topk", TOKENS * 0.5)]).to_dict("records")
    quarters = [row[name] for name in ("shortest", "second", "third", "longest")]
    assert quarters == pytest.approx([0.5] * 4)
    assert row["spread"] == pytest.approx(0)
    assert row["length"] == pytest.approx(1) and math.isnan(row["difficulty"])


def test_the_spread_is_among_texts_of_like_length():
    by_length = np.where(TOKENS < 30, 0.8, 0.4)
    by_text = by_length + 0.1 * (-1) ** np.arange(40)
    rows = adaptivity([run("topk", TOKENS * by_length), run("ts_dtp", TOKENS * by_text)])
    assert rows["spread"].tolist() == pytest.approx([0, 0.1])


def test_a_fixed_number_is_less_of_a_long_text():
    (row,) = adaptivity([run("transkimmer", 5)]).to_dict("records")
    assert row["shortest"] > row["second"] > row["third"] > row["longest"]
    assert math.isnan(row["length"]), "all keep the same: no rank to correlate"


def test_difficulty_is_judged_among_texts_of_like_length():
    doubtful = np.arange(40) % 2
    unpruned = run("none", TOKENS, probability=1 - 0.4 * doubtful)
    more, less = (run("ts_dtp", 2 + sign * doubtful, budget=0.4) for sign in (1, -1))
    table = adaptivity([unpruned, more, less])
    assert table["difficulty"].tolist()[0] > 0.8 > 0 > -0.8 > table["difficulty"].tolist()[1]
    other = run("none", TOKENS, probability=0.6 + 0.4 * doubtful, variant="z")
    assert adaptivity([unpruned, other, more]).equals(table.head(1)), "judged by the plain one"
    other_seed = adaptivity([unpruned, run("ts_dtp", 2 + doubtful, seed=1)])
    assert other_seed["difficulty"].isna().all(), "not judged by another seed's model"


def test_difficulty_is_not_judged_on_other_texts():
    doubtful = np.arange(40) % 2
    pruned, unpruned = run("ts_dtp", 2 + doubtful), run("none", TOKENS, 0.9 - 0.4 * doubtful)
    assert adaptivity([unpruned, pruned])["difficulty"].notna().all()
    for column in ("index", "label", "tokens"):
        other = Run(unpruned.identity, unpruned.answers.copy())
        other.answers.loc[39, column] += 1
        assert adaptivity([other, pruned])["difficulty"].isna().all(), column
    fewer = Run(unpruned.identity, unpruned.answers.head(39))
    assert adaptivity([fewer, pruned])["difficulty"].isna().all()


def test_runs_without_counts_are_left_out():
    bare = Run({"pruning": "dtp"}, pd.DataFrame({"index": [0], "label": [1], "prediction": [1]}))
    assert adaptivity([bare]).empty


def test_correlations_are_of_ranks():
    (row,) = adaptivity([run("topk", 1.2**TOKENS)]).to_dict("records")
    assert row["length"] == pytest.approx(1), "a straight line would have less"
