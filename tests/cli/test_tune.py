"""A search as a command: what it starts from, what it leaves, and where it goes on."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from small_search import SEARCHED, SETTINGS, SPACE
from tiny import FAST, REPOSITORY

from tsdtp.cli.config import BEGUN_WITH, HYDRA_VERSION_BASE, ConfigError, config_dir
from tsdtp.cli.folder import exclusive
from tsdtp.cli.presets import user_folder
from tsdtp.cli.tuning import search as searching
from tsdtp.cli.tuning import trials
from tsdtp.cli.tuning.outcome import experiment, save_search
from tsdtp.cli.tuning.search import Search
from tsdtp.cli.tuning.settings import OWN, check_spelling, load_settings
from tsdtp.jobs.job import Job, State

optuna = pytest.importorskip("optuna")


@pytest.fixture
def study(tmp_path):
    return trials.make_study(tmp_path, SETTINGS, SEARCHED)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("space: [epochs]", r"space=\['epochs'\]; valid: a key of the config each"),
        ("space: {epochs: 2}", r"space.epochs: 2; valid: choices, or low, high and log"),
        ("space: {epochs: {low: 1}}", r"space.epochs.*valid: choices, or low, high and log"),
        ("space: {epochs: {low: 1, high: 3, step: 2}}", "valid: choices, or low, high and log"),
        ("space: {epochs: {low: 3, high: 1}}", "valid: low below high"),
        ("space: {epochs: {low: 0, high: 1.5, log: true}}", "valid with log: low above 0"),
        ("space: {epochs: {choices: []}}", "space.epochs"),
        ("space: {a: {choices: [[1, 2], null]}}", r"space.a: \[1, 2\] among.*texts: '\[1, 2\]'$"),
        ("space: {epochs: {low: 1, high: .inf}}", "valid: low below high"),
        ("space: {epochs: {low: true, high: 3}}", "valid: low below high"),
        ("space: {epochs: {low: 1, high: 3, log: maybe}}", "valid for log: true, false"),
        ("trials: ten", "trials=ten: valid is 1 or more"),
        ("hopeless: -1", "hopeless=-1: valid is 0 or more"),
        ("sampler_seed: x", "sampler_seed=x"),
        ("trails: 9", r"no such key: trails \(did you mean trials\?\)"),
    ],
)
def test_a_search_that_cannot_be_made_is_refused(tmp_path, wrong, words):
    preset = yaml.safe_load((REPOSITORY / "configs/hparams/ts_dtp.yaml").read_text())
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**preset, **yaml.safe_load(wrong)}))
    with pytest.raises(ConfigError, match=words):
        load_settings([f"hparams={tmp_path}/mine.yaml"])


def test_a_search_that_lacks_a_key_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("trials: 3\nspace: {}\n")
    with pytest.raises(ConfigError, match="no value given for sampler, cost, hopeless"):
        load_settings([f"hparams={tmp_path}/mine.yaml"])


def test_another_file_behind_the_same_words_is_another_search(tmp_path, monkeypatch):
    search = Search(load_settings([]), [])
    before = search.searched
    made = trials.make_study(tmp_path, SETTINGS, before)
    assert made.user_attrs[trials.SEARCHED] == before
    real = searching.compose
    for more, other in (("log_every_n_steps=7", False), ("batch_size=7", True)):
        monkeypatch.setattr(searching, "compose", lambda name, run, m=more: real(name, [*run, m]))
        if not other:
            trials.make_study(tmp_path, SETTINGS, search.searched)
            continue
        with pytest.raises(
            ConfigError, match=r"config of start \(batch_size: 32 -> 7\), config of"
        ):
            trials.make_study(tmp_path, SETTINGS, search.searched)


def test_only_the_best_of_now_are_left_as_experiments(study, tmp_path):
    def tell(quality: float) -> None:
        trial = study.ask()
        trial.set_user_attr(trials.OVERRIDES, trials.suggest(trial, SPACE))
        study.tell(trial, (quality, 0.5))
        save_search(study, tmp_path, ["pruning=none"], ["task=sst2"], "flops_ratio")

    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment/mine.yaml").touch()
    for quality in (0.7, 0.9):
        tell(quality)
    names = sorted(path.name for path in (tmp_path / "experiment").iterdir())
    assert names == ["mine.yaml", "trial1.yaml"]


def test_words_stay_words_in_the_experiment(tmp_path):
    drawn = {trials.OVERRIDES: ["pruning.layers=[1,2]", "pruning.gamma=1e-3", "task.data.x='on'"]}
    trial = SimpleNamespace(number=3, values=(0.9, 0.5), user_attrs=drawn)
    common = ["task=sst2", "task.data.label_names=[no,yes]", "model.init_from='a=b/start'"]
    start = ["task=sst2", "task.data.evaluate_on=holdout", "logger=none", "pruning=none"]
    text = experiment(trial, tmp_path, start, common, "flops_ratio")  # pyright: ignore
    assert "\n# tsdtp train task=sst2 pruning=none\n" in text
    assert "  - override /task: sst2\n" in text
    assert yaml.safe_load(text)["task"]["data"] == {"label_names": ["no", "yes"], "x": "on"}
    path = tmp_path / "trial3.yaml"
    path.write_text(text)
    config = OmegaConf.load(path)
    assert config.task.data.label_names == ["no", "yes"] and config.task.data.x == "on"
    assert (config.pruning.layers, config.pruning.gamma) == ([1, 2], 0.001)
    assert config.model == {"init_from": "unpruned"}


def test_an_experiment_that_was_searched_from_comes_first(tmp_path):
    drawn = {trials.OVERRIDES: ["pruning.gamma=2.5"]}
    trial = SimpleNamespace(number=3, values=(0.9, 0.5), user_attrs=drawn)
    common = ["task=synthetic_pair", "experiment=qnli_ts_dtp", "epochs=2", "debug=fast"]
    (tmp_path / "experiment").mkdir()
    path = tmp_path / "experiment/trial3.yaml"
    path.write_text(experiment(trial, tmp_path, [], common, "flops_ratio"))  # pyright: ignore
    written = composed("experiment=trial3", folder=tmp_path)
    assert written == composed(*common[:-1], "pruning.gamma=2.5")
    assert written.teacher.noise == 0.3 and written.task.name == "synthetic_pair"


def composed(*overrides: str, folder: Path | None = None) -> DictConfig:
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        return compose("train", [*user_folder(folder), *overrides])


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=qnli_ts_dtp", "teacher.others=[1]"],
        ["pruning.gamma=2", "teacher.noise=0.1", "warm_start=false"],
        ["model.init_from=unpruned", "pruning.budget=0.5"],
    ],
)
def test_the_start_has_nothing_of_the_pruned_runs(overrides):
    search = Search(load_settings([]), overrides)
    start, trial = composed(*search.start), composed(*search.trial)
    assert start.pruning == composed("pruning=none").pruning
    assert (start.model.init_from, start.teacher.noise, start.teacher.others) == (None, 0, [])
    assert start.warm_start and start.model.blocks == trial.model.blocks
    assert trial.model.init_from == "outputs/tune/ts_dtp/start"


def test_a_start_of_the_users_own_is_kept():
    search = Search(load_settings([]), ["model.init_from=mine", "teacher.noise=0.1"])
    assert {composed(*o).model.init_from for o in (search.start, search.trial)} == {"mine"}


def test_no_key_of_a_run_is_taken_for_a_misspelt_one_of_the_search():
    check_spelling([f"{key}=1" for key in composed() if key not in OWN])


def test_what_the_command_sets_is_not_searched():
    search = Search(load_settings(["dir=20240501"]), ["pruning.budget=0.4", "epochs=1"])
    assert "pruning.budget" not in search.settings["space"] and search.settings["space"]
    assert "pruning.budget=0.4" in search.trial and search.folder == Path("20240501")
    everything = [f"{key}=null" for key in load_settings([])["space"]]
    with pytest.raises(ConfigError, match="nothing is left to search; valid: one of pruning"):
        Search(load_settings([]), everything)


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("pruning.layers: {choices: [null, '[9]']}", "tsdtp tune: pruning.layers=[9]: valid are 0"),
        ("pruning.budget: {low: 0.3, high: 1.8}", "tsdtp tune: pruning.budget=1.8: valid is a"),
        ("optim.betas: {choices: ['[0.9,0.9]', '[0.9]']}", "tsdtp tune: optim.betas=[0.9]: valid"),
        (
            "pruning: {choices: [ts_dtp, topk]}\npruning.gamma: {low: 1, high: 2}",
            "space: pruning=topk: no such key: pruning.gamma",
        ),
    ],
)
def test_a_value_that_every_trial_would_refuse_is_named_before_the_start_run(tsdtp, space, words):
    settings = OmegaConf.load(REPOSITORY / "configs/hparams/ts_dtp.yaml")
    settings.space = yaml.safe_load(space)
    OmegaConf.save(settings, "mine.yaml")
    outcome = tsdtp("tune", "hparams=mine.yaml")
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1
    assert words in outcome.err
    assert not list(Path().rglob("study.db")), "it would hold the folder"


def test_what_only_some_combinations_refuse_may_be_searched():
    """Shares that are too much together, and what needs another choice than the first."""
    settings = load_settings([])
    settings["space"] = {
        "budget_schedule.warmup": {"low": 0.0, "high": 0.9},
        "budget_schedule.ramp": {"low": 0.0, "high": 0.9},
        "pruning.learn_gamma": {"choices": [True, False]},
        "pruning.own_attention": {"choices": [False, True]},
    }
    settings["slots"] = ["0"]
    assert Search(settings, []).pool().free


class Slot:
    """A pool whose one job fails at once."""

    def __init__(self) -> None:
        self.free, self.running, self.environment = [0], [], {BEGUN_WITH: "before"}

    def start(self, job: Job) -> None:
        job.state, job.note = State.FAILED, "refused"
        self.free, self.running = [], [job]

    def poll(self) -> list[Job]:
        ended, self.running, self.free = self.running, [], [0]
        return ended

    def stop(self, jobs: list[Job], note: str) -> None:
        assert note in ("interrupted", "hopeless") and not jobs


@pytest.mark.parametrize("asked", [2, 9])
def test_a_source_that_has_changed_ends_the_search_and_costs_no_trial(study, monkeypatch, asked):
    monkeypatch.setattr(Search, "_run_start", lambda *_: None)
    digests = iter(["before", "before", "before", "after", "after"])
    monkeypatch.setattr(searching, "code_digest", lambda: next(digests))
    search = Search(load_settings([f"trials={asked}"]), [])
    with pytest.raises(ConfigError, match="source of tsdtp has changed.*changed_code=keep"):
        search.run(study, Slot())  # pyright: ignore
    failed, late, again = study.trials
    assert trials.WHY in failed.user_attrs and trials.wanted(study, asked) == asked - 1
    assert again.state.name == "WAITING" and trials.WHY not in late.user_attrs
    assert trials.suggest(study.ask(), search.settings["space"]) == late.user_attrs["overrides"]


def test_a_trial_that_outlived_its_search_is_waited_for(study, tmp_path):
    search = Search(load_settings([f"dir={tmp_path}"]), [])
    study.ask()
    with (
        exclusive(tmp_path / "trials/0"),
        pytest.raises(ConfigError, match="at work in .*trials/0"),
    ):
        search.run(study, Slot())  # pyright: ignore
    assert [trial.state.name for trial in study.trials] == ["RUNNING"], "and not tried again"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hparams=nothing"], ["no such hparams", "ts_dtp"]),
        (["changed_code=rerun"], ["no such changed_code", "ask, keep"]),
        (["sampler=grid"], ["no such sampler", "tpe, nsga2"]),
        (["teacher.others=[1]"], ["teacher.others=[1]", "folders, not seeds"]),
        (["pruning.budgit=1"], ["no such key", "budget"]),
        (["trails=3"], ["no such key: trails (did you mean trials?)"]),
        (["seed=0,1"], ["several values of seed", "valid: one"]),
        (["cost=seconds", "benchmark.enabled=false"], ["benchmark.enabled=false", "cost=seconds"]),
        (["pruning.fuse=all", "pruning.budget=0.5"], ["tsdtp tune: pruning.fuse=all: valid are"]),
    ],
)
def test_wrong_command_lines_are_refused_at_once(tsdtp, arguments, words):
    outcome = tsdtp("tune", *arguments)
    assert outcome.code == 2 and len(outcome.err.splitlines()) == 1
    assert all(word in outcome.err for word in words)
    assert not list(Path().rglob("study.db")), "it would hold the folder"


@pytest.mark.slow
def test_a_search_resumes_and_leaves_experiments_that_run(tsdtp):
    settings = OmegaConf.load(REPOSITORY / "configs/hparams/ts_dtp.yaml")
    settings.trial, settings.start = [], []  # or they would outweigh debug=fast
    OmegaConf.save(settings, "small.yaml")
    arguments = [*FAST, "task=synthetic_sentence", "dir=a=b", "hparams=small.yaml"]
    assert tsdtp("tune", "trials=2", *arguments).code == 0
    outcome = tsdtp("tune", "trials=3", *arguments)
    assert outcome.code == 0
    assert outcome.out.count("trial done") == 1, "two were done before"
    assert len(list(Path("a=b/trials").glob("*/metrics.json"))) == 3
    assert len(Path("a=b/trials.csv").read_text().splitlines()) == 4
    assert Path("a=b/front.png").stat().st_size > 1000
    path = next(Path("a=b/experiment").glob("*.yaml"))
    config = OmegaConf.load(path)
    assert "override /pruning" in path.read_text() and 0.3 <= config.pruning.budget <= 0.8
    assert "evaluate_on" not in path.read_text()
    chosen = ["--config-dir=a=b", f"experiment={path.stem}"]
    assert "no finished run in outputs/runs/" in tsdtp("train", *chosen, *FAST).err
    first = next(line for line in path.read_text().splitlines() if "pruning=none" in line)
    assert tsdtp(*shlex.split(first)[2:], *FAST).code == 0
    assert tsdtp("train", *chosen, *FAST).code == 0
