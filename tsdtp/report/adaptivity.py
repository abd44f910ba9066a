"""Whether a method keeps more of a text that needs more: by length, and by difficulty."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from tsdtp.report.answers import Run

QUARTERS = ("shortest", "second", "third", "longest")
FRACTIONS = (*QUARTERS, "spread")
RANKS = ("length", "difficulty")


def adaptivity(runs: Iterable[Run]) -> pd.DataFrame:
    """What each pruned run kept of short and long, of easy and hard texts.

    Args:
        runs: as `read_runs` gives them; the unpruned run of the same seed says what is difficult.

    Returns:
        task, model, method (with budget, variant and seed), n; shortest, second, third, longest:
        fraction of the tokens that the last block keeps, in each quarter of the texts by length;
        spread: its standard deviation among texts of like length, next to 0 where every text
        loses the same part;
        length: Spearman's rank correlation of tokens kept with tokens; difficulty: that of the
        fraction kept, less its mean among texts of like length, with how unsure the unpruned model
        is (1 - probability of its answer). A correlation is NaN where all texts keep the same, or
        without an unpruned run.
    """
    found = [run for run in runs if {"tokens", "kept", "probability"} <= set(run.answers)]
    whole = [run for run in found if run.identity["pruning"] == "none"]
    whole.sort(key=lambda run: not run.identity.get("variant"))  # the plain one counts: the last
    unpruned = {_place(run): run for run in whole}
    rows = [
        _row(run, unpruned.get(_place(run)))
        for run in found
        if run.identity["pruning"] != "none" and len(run.answers) >= 8
    ]
    return pd.DataFrame(rows, columns=["task", "model", "method", "n", *FRACTIONS, *RANKS])


def _place(run: Run) -> tuple:
    return tuple(run.identity.get(key) for key in ("task", "model", "seed"))


def _row(run: Run, unpruned: Run | None) -> dict[str, Any]:
    answers: Any = run.answers.set_index("index")
    share = answers["kept"] / answers["tokens"]
    order = answers["tokens"].rank(method="first")
    quarters = share.groupby(pd.qcut(order, 4, labels=QUARTERS), observed=True).mean()
    own = share - _like_length(share, order)
    task, model, seed = _place(run)
    return {
        **{"task": task, "model": model, "method": f"{run.name} seed {seed}", "n": len(share)},
        **quarters.to_dict(),
        "spread": own.std(ddof=0),
        "length": _rank_correlation(answers["tokens"], answers["kept"]),
        "difficulty": _with_doubt(answers.assign(own=own), unpruned),
    }


def _like_length(share: pd.Series, order: pd.Series) -> pd.Series:
    """The mean among as long texts: each tenth by length, or fewer where there are few."""
    parts = max(1, min(10, len(share) // 4))
    return share.groupby(pd.qcut(order, parts, labels=False)).transform("mean")


def _with_doubt(answers: pd.DataFrame, unpruned: Run | None) -> float:
    if unpruned is None:
        return float("nan")
    keys = ["index", "label", "tokens"]
    whole = unpruned.answers[[*keys, "probability"]]
    both: Any = answers.merge(whole, on=keys, suffixes=("", "_whole"))
    if len(both) < max(len(answers), len(whole)):
        return float("nan")  # of other texts
    return _rank_correlation(both["own"], 1 - both["probability_whole"])


def _rank_correlation(one: pd.Series, other: pd.Series) -> float:
    if one.nunique() < 2 or other.nunique() < 2:
        return float("nan")
    return one.corr(other, method="spearman")
