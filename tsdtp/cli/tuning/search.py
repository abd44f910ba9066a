"""A search in a folder: its start run, and trials side by side."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from tsdtp.cli.checks.command import check_command
from tsdtp.cli.checks.composing import composed, parse, sharing
from tsdtp.cli.checks.pruner import check_built, found_shape
from tsdtp.cli.checks.training import check_training
from tsdtp.cli.config import (
    BEGUN_WITH,
    HYDRA_VERSION_BASE,
    ConfigError,
    config_dir,
    plain,
    quoted,
)
from tsdtp.cli.folder import check_idle
from tsdtp.cli.launch import IMPORTS, choose_slots, run_job
from tsdtp.cli.tuning.space import check_space
from tsdtp.cli.tuning.start import single, start_overrides
from tsdtp.cli.tuning.trials import (
    BUDGET,
    CONFIGS,
    HISTORY,
    OVERRIDES,
    WHY,
    forget_interrupted,
    interrupted,
    is_hopeless,
    judge,
    suggest,
    try_again,
    wanted,
)
from tsdtp.jobs.board import describe
from tsdtp.jobs.job import Job, State
from tsdtp.jobs.pool import Pool, run_all
from tsdtp.provenance import code_digest

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

_EDITED = (
    "the source of tsdtp has changed since this search began; the same command goes on with it: "
    "changed_code=keep, or dir=FOLDER for a new one"
)


class Search:
    """One search in one folder.

    Args:
        settings: see `load_settings`.
        overrides: of the user, for the start run and every trial.

    Raises:
        ConfigError: for an override or a key of the space that does not exist or does not fit.
    """

    def __init__(self, settings: dict[str, Any], overrides: Sequence[str]) -> None:
        fixed = {o.key_or_group for o in parse(overrides)}  # not searched, then
        space = {key: range_ for key, range_ in settings["space"].items() if key not in fixed}
        if not space:
            keys = ", ".join(settings["space"])
            raise ConfigError(f"nothing is left to search; valid: one of {keys} unset")
        self.settings, self.folder = {**settings, "space": space}, Path(settings["dir"])
        measured = ["benchmark.enabled=true"] if settings["cost"] == "seconds" else []
        common = [*settings["common"], *measured]
        self.start = start_overrides([*common, *settings["start"], *overrides])
        self.begun = f"model.init_from={quoted(self.folder / 'start')}"
        trial = single([*common, self.begun, *settings["trial"], *overrides])
        self.trial = [self.begun if o == "model.init_from=unpruned" else o for o in trial]
        check_command("train", self.start)
        check_space(space, lambda drawn: check_command("train", [*self.trial, *drawn]))

    @property
    def searched(self) -> dict[str, Any]:
        """What makes it this search, whatever the number of trials and the sampler."""
        own = {key: self.settings[key] for key in ("space", "cost")}
        runs = {"start": list(self.start), "trial": list(self.trial)}
        return {**runs, CONFIGS: {name: _composed(run) for name, run in runs.items()}, **own}

    def pool(self) -> Pool:
        """Slots for the trials' hardware.

        Raises:
            ConfigError: if the machine has none, or every trial, or each with some value of the
                space, would be refused.
        """
        with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
            config = compose("train", self.trial)
        if seeds := [other for other in config.teacher.others if isinstance(other, int)]:
            raise ConfigError(f"teacher.others={seeds}: valid for a search are folders, not seeds")
        if self.settings["cost"] == "seconds" and not config.benchmark.enabled:
            raise ConfigError("benchmark.enabled=false: valid with cost=seconds is true")
        self._check_runs()
        places = choose_slots([plain(config.hardware)], self.settings["slots"])
        if self.settings["cost"] == "seconds" and not self.settings["slots"]:
            places = places[:1]  # neighbours would disturb the clock
        return Pool(places, {BEGUN_WITH: code_digest()}, imports=IMPORTS)

    def _check_runs(self) -> None:
        """Raises ConfigError for a value that no trial could be trained with."""

        def check(drawn: list[str]) -> None:
            config = made([*self.trial, *drawn])
            check_training(config)
            check_built(config, found_shape(config.model))

        made = sharing(partial(composed, "train"))
        with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
            check_space(self.settings["space"], check)

    def run(self, study: Study, pool: Pool) -> None:
        """Makes trials until there are as many as were asked for.

        Raises:
            ConfigError: if the start run fails, or a run of an earlier search that was killed is
                still at work, or the source has changed; trials that came too late for it are
                tried again.
            KeyboardInterrupt: after the running trials have been ended.
        """
        check_idle([self.folder / "start", *map(self._place, interrupted(study))])
        forget_interrupted(study)
        running: dict[str, tuple[Trial, Job]] = {}
        try:
            self._run_start(pool)
            while running or wanted(study, self.settings["trials"]):
                while pool.free and wanted(study, self.settings["trials"]) and _unchanged(pool):
                    trial = study.ask()
                    job = self._job(trial)
                    running[job.name] = (trial, job)
                    pool.start(job)
                if not running:
                    raise ConfigError(_EDITED)
                for job in [*pool.poll(), *self._stop_hopeless(study, pool, running)]:
                    trial, _ = running.pop(job.name)
                    if job.state is State.FAILED and not _unchanged(pool):
                        try_again(study, trial)
                    else:
                        self._tell(study, trial, job)
                time.sleep(0.2)
        finally:
            pool.stop(pool.running, "interrupted")
            forget_interrupted(study)

    def _run_start(self, pool: Pool) -> None:
        if self.begun not in self.trial:
            return  # the user names another one
        job = run_job("start", self.folder / "start", [*self.start, "overwrite=true"])
        if not job.result.is_file():
            print("the unpruned run that every trial starts from ...", flush=True)
            run_all(pool, [job], lambda: None)
        if job.state is State.FAILED:
            raise ConfigError(f"the start run failed: {job.note} (see {job.log})")

    def _job(self, trial: Trial) -> Job:
        chosen = suggest(trial, self.settings["space"])
        trial.set_user_attr(OVERRIDES, chosen)
        overrides = [*self.trial, *chosen, "overwrite=true"]
        return run_job(str(trial.number), self._place(trial), overrides)

    def _place(self, trial: Trial | FrozenTrial) -> Path:
        return self.folder / "trials" / str(trial.number)

    def _stop_hopeless(self, study: Study, pool: Pool, running: dict) -> list[Job]:
        done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
        enough = self.settings["hopeless"]
        hopeless = [
            job
            for trial, job in running.values()
            if job.state is State.RUNNING
            and is_hopeless(job.progress().history, trial.params.get(BUDGET), done, enough)
        ]
        pool.stop(hopeless, "hopeless")
        return hopeless

    def _tell(self, study: Study, trial: Trial, job: Job) -> None:
        from optuna.trial import TrialState

        trial.set_user_attr(HISTORY, list(job.progress().history))
        values, state = None, TrialState.COMPLETE
        if job.state is State.DONE:
            values = judge(job.folder, self.settings["cost"])
            job = replace(job, note=f"{values[0]:.4f} at {values[1]:.4g} {self.settings['cost']}")
        else:
            trial.set_user_attr(WHY, job.note)
            state = TrialState.PRUNED if job.state is State.STOPPED else TrialState.FAIL
        study.tell(trial, values, state)
        print(f"trial {describe(job)}  {shlex.join(trial.user_attrs[OVERRIDES])}", flush=True)


def _unchanged(pool: Pool) -> bool:
    """Whether the source is still the one that the search began with; a trial would refuse it."""
    return pool.environment[BEGUN_WITH] == code_digest()


def _composed(run: list[str]) -> Any:
    """The settings of a run, as the files have them today: its overrides alone do not say."""
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        return OmegaConf.to_container(compose("train", run))
