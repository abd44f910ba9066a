"""Trials of a search: what they try, how they are judged, and when one is hopeless."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsdtp.cli.config import ConfigError, missing_extra
from tsdtp.cli.identity import changed
from tsdtp.cli.other_code import versions
from tsdtp.cli.tuning.space import as_overrides
from tsdtp.provenance import code_state, same_code, with_own
from tsdtp.results import main_metric, read_record

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

HISTORY, WHY, OVERRIDES = "history", "why", "overrides"  # user attributes of a trial
SEARCHED, CODE = "searched", "code"  # of a study
CONFIGS = "configs"  # of what is searched: the settings of its runs
BUDGET = "pruning.budget"


def make_study(folder: Path, settings: Mapping[str, Any], searched: Mapping[str, Any]) -> Study:
    """The study in the folder's database, made or gone on with.

    Args:
        folder: of the search.
        settings: of the search: its sampler, and whether other code is kept.
        searched: what the trials share and what they try; a study of anything else is not gone
            on with.

    Raises:
        ConfigError: without Optuna, if its database cannot be written, or if another search lies in
            the folder, or one by other code.
    """
    try:
        import optuna
        from sqlalchemy.exc import SQLAlchemyError
    except ImportError:
        raise ConfigError(missing_extra("optuna", "tune")) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = {"tpe": optuna.samplers.TPESampler, "nsga2": optuna.samplers.NSGAIISampler}
    database = (folder / "study.db").absolute()
    try:
        study = optuna.create_study(
            study_name="tsdtp",
            storage=f"sqlite:///{database}",
            directions=["maximize", "minimize"],
            load_if_exists=True,
        )
    except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise ConfigError(f"cannot open {database}: {reason}") from error
    _mark(study, folder, settings, searched)
    # Another seed for each part of a search: the first one's draws would come again.
    seed = settings["sampler_seed"] + len(study.trials)
    study.sampler = samplers[settings["sampler"]](seed=seed)
    return study


def _mark(
    study: Study, folder: Path, settings: Mapping[str, Any], searched: Mapping[str, Any]
) -> None:
    """Notes what is searched and by which code; refuses to go on with anything else."""
    if other := _others(study.user_attrs.get(SEARCHED, {}), searched):
        raise ConfigError(
            f"{folder} holds a search with another {', '.join(other)}; dir=FOLDER keeps both"
        )
    code = with_own(code_state(), searched)
    made = study.user_attrs.get(CODE, code)
    if settings["changed_code"] == "ask" and not same_code(made, code):
        raise ConfigError(
            f"the trials in {folder} come from {versions(made)}: changed_code=keep goes on with "
            "them, dir=FOLDER keeps both"
        )
    study.set_user_attr(SEARCHED, dict(searched))
    study.set_user_attr(CODE, made)


def _others(before: Mapping[str, Any], searched: Mapping[str, Any]) -> list[str]:
    """What a search has otherwise than before; an older one does not say how it was composed."""
    known = {key: before.get(key, value) for key, value in searched.items()}
    other = [key for key in searched if key != CONFIGS and known[key] != searched[key]]
    runs = searched.get(CONFIGS, {})
    return other + [
        f"config of {name}{settings}"
        for name, config in runs.items()
        if name not in other and (settings := changed(known[CONFIGS][name], config))
    ]


def suggest(trial: Trial, space: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Overrides of one trial.

    Args:
        trial: to draw for.
        space: for each key `choices`, or `low` and `high` with or without `log`.
    """
    return as_overrides({key: _draw(trial, key, dict(range_)) for key, range_ in space.items()})


def _draw(trial: Trial, key: str, range_: dict[str, Any]) -> Any:
    if "choices" in range_:
        return trial.suggest_categorical(key, range_["choices"])
    whole = isinstance(range_["low"], int) and isinstance(range_["high"], int)
    return (trial.suggest_int if whole else trial.suggest_float)(key, **range_)


def judge(folder: Path, cost: str) -> tuple[float, float]:
    """Quality, to be maximised, and cost, to be minimised, of a finished trial.

    Args:
        folder: of the run.
        cost: `flops_ratio` as spent on the evaluation data, or `seconds` per example.

    Raises:
        ValueError: if the record lacks either of them.
    """
    record = read_record(folder)
    quality = main_metric(record)
    rate = (record.speed or {}).get("examples_per_second")
    spent = record.cost["flops_ratio"] if cost == "flops_ratio" else rate and 1 / rate
    if quality is None or spent is None:
        raise ValueError(f"{folder}: no {'quality' if quality is None else cost} was measured")
    return quality, spent


def is_hopeless(
    history: Sequence[float], budget: float | None, done: Sequence[FrozenTrial], enough: int
) -> bool:
    """Median stopping among trials that were allowed no more.

    After Golovin et al. (2017, section 3.2), who compare with the others' running averages; the
    best figures so far are stricter.

    Args:
        history: validation figure after each epoch so far.
        budget: of the running trial.
        done: finished trials.
        enough: how many there must be to compare with; 0: nothing is hopeless.

    Returns:
        Whether the best figure so far is below the median of what the others had by then.
    """
    if not history or not enough:
        return False
    epoch = len(history)
    rivals = [
        max(trial.user_attrs[HISTORY][:epoch])
        for trial in done
        if len(trial.user_attrs.get(HISTORY, ())) >= epoch
        and (budget is None or trial.params.get(BUDGET, 0.0) <= budget)
    ]
    return len(rivals) >= enough and max(history) < statistics.median(rivals)


def wanted(study: Study, trials: int) -> int:
    """Trials still to make; interrupted ones do not count, for they are tried again."""
    counted = [
        trial
        for trial in study.trials
        if trial.state.name in ("COMPLETE", "PRUNED", "RUNNING") or WHY in trial.user_attrs
    ]
    return max(trials - len(counted), 0)


def interrupted(study: Study) -> list[FrozenTrial]:
    """Trials that have begun and not ended, as far as the study knows."""
    from optuna.trial import TrialState

    return study.get_trials(states=(TrialState.RUNNING,))


def forget_interrupted(study: Study) -> None:
    """Ends trials that no process runs any more, and puts their settings first in the queue."""
    for trial in interrupted(study):
        try_again(study, trial)


def try_again(study: Study, trial: Trial | FrozenTrial) -> None:
    """Ends a trial that does not count, and puts its settings first in the queue."""
    from optuna.trial import TrialState

    study.tell(trial.number, state=TrialState.FAIL)
    if trial.params:
        study.enqueue_trial(trial.params)
