"""Trials are drawn, judged, stopped where they are hopeless, and made again where they must be."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from small_search import SEARCHED, SETTINGS, SPACE

from tsdtp.cli.config import ConfigError
from tsdtp.cli.tuning import trials
from tsdtp.results import RunRecord, write_record

optuna = pytest.importorskip("optuna")


@pytest.fixture
def study(tmp_path):
    return trials.make_study(tmp_path, SETTINGS, SEARCHED)


def test_draws_what_the_space_holds(study):
    drawn = [dict(o.split("=") for o in trials.suggest(study.ask(), SPACE)) for _ in range(20)]
    assert {d["pruning.layers"] for d in drawn} == {"null", "[1,2]"}
    assert all(0.5 <= float(d["pruning.gamma"]) <= 8.0 for d in drawn)
    assert {d["epochs"] for d in drawn} <= {"1", "2", "3"}


def test_the_same_seed_draws_the_same(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    one, two = (trials.make_study(tmp_path / name, SETTINGS, SEARCHED) for name in "ab")
    assert trials.suggest(one.ask(), SPACE) == trials.suggest(two.ask(), SPACE)


def test_a_search_that_goes_on_draws_what_it_has_not_drawn(study, tmp_path):
    first = [trials.suggest(study.ask(), SPACE) for _ in range(3)]
    again = trials.make_study(tmp_path, SETTINGS, SEARCHED)
    assert trials.suggest(again.ask(), SPACE) not in first


def test_another_search_in_the_same_folder_is_refused(study, tmp_path):
    other = {**SEARCHED, "start": ["task=qnli"], "trial": ["task=qnli", "epochs=1"]}
    with pytest.raises(ConfigError, match="another start, trial; dir=FOLDER keeps both"):
        trials.make_study(tmp_path, SETTINGS, other)


def test_other_code_is_named_and_asked_for(study, tmp_path):
    study.set_user_attr(trials.CODE, {"commit": "feedfacefeed", "code": "000000000000"})
    with pytest.raises(ConfigError, match=r"other code \(feedface.*changed_code=keep.*dir=FOLDER"):
        trials.make_study(tmp_path, SETTINGS, SEARCHED)
    trials.make_study(tmp_path, {**SETTINGS, "changed_code": "keep"}, SEARCHED)


def test_a_database_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / "study.db").mkdir()
    with pytest.raises(ConfigError, match=r"cannot open .*study\.db: .*unable to open database"):
        trials.make_study(tmp_path, SETTINGS, SEARCHED)


def finish(folder: Path, accuracy: float, speed: dict | None = None) -> None:
    identity = {"task": "t", "pruning": "p", "model": "m", "seed": 0, "budget": None}
    identity |= {"run_id": "r", "execution": "packed"}
    made = dict.fromkeys(("command", "commit", "dirty", "versions", "hardware", "date", "config"))
    made |= {"config_hash": "x"}
    cost = {"flops_ratio": 0.5}
    write_record(folder, RunRecord(identity, made, {"accuracy": accuracy}, cost, speed))


def test_judges_by_quality_and_either_cost(tmp_path):
    finish(tmp_path, 0.75, {"examples_per_second": 50.0})
    assert trials.judge(tmp_path, "flops_ratio") == (0.75, 0.5)
    assert trials.judge(tmp_path, "seconds") == (0.75, 0.02)
    finish(tmp_path, 0.75)
    with pytest.raises(ValueError, match="no seconds was measured"):
        trials.judge(tmp_path, "seconds")


def done(budget: float, *history: float):
    return SimpleNamespace(params={"pruning.budget": budget}, user_attrs={"history": history})


def test_hopeless_is_below_the_median_of_those_that_cost_no_more():
    others = [done(0.4, 0.6, 0.9), done(0.5, 0.7, 0.8), done(0.5, 0.8), done(0.9, 0.99, 0.99)]
    assert trials.is_hopeless([0.65], 0.5, others, enough=3)
    assert not trials.is_hopeless([0.75], 0.5, others, enough=3)
    assert not trials.is_hopeless([0.65], 0.5, others, enough=4), "one costs more"
    assert not trials.is_hopeless([0.1, 0.75], 0.5, others, enough=3), "two ran for two epochs"
    assert not trials.is_hopeless([0.1], 0.5, others, enough=0)
    assert not trials.is_hopeless([], 0.5, others, enough=1)


def test_interrupted_trials_are_tried_again_first_and_do_not_count(study):
    first, failed = study.ask(), study.ask()
    drawn = trials.suggest(first, SPACE)
    failed.set_user_attr(trials.WHY, "raised")
    study.tell(failed, state=optuna.trial.TrialState.FAIL)
    assert trials.wanted(study, 5) == 3, "one runs, one failed"
    trials.forget_interrupted(study)
    assert trials.wanted(study, 5) == 4
    again = study.ask()
    assert trials.suggest(again, SPACE) == drawn
