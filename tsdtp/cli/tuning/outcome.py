"""What a search leaves: every trial as a row, the front as a plot and as ready experiments."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.override_parser.types import Override
from omegaconf import OmegaConf

from tsdtp.atomic import write_atomic
from tsdtp.cli.checks.composing import parse
from tsdtp.cli.config import as_text, config_dir
from tsdtp.cli.tuning.trials import OVERRIDES
from tsdtp.report.figures import save_trade_off

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

# Of a search alone: an experiment is trained and reported like any other.
_LEFT_OUT = (
    *("model.init_from", "callbacks", "logger", "debug"),
    *("benchmark.enabled", "hardware.threads"),
)


def save_search(
    study: Study, folder: Path, start: Sequence[str], overrides: Sequence[str], cost: str
) -> None:
    """Writes trials.csv, front.png and experiment/trialN.yaml, the front alone, and prints it.

    Args:
        study: with at least one finished trial.
        folder: of the search.
        start: overrides of the unpruned run that all trials start from.
        overrides: that all trials share.
        cost: name of the second objective.
    """
    best = sorted(study.best_trials, key=lambda trial: trial.values[1])
    write_atomic(folder / "trials.csv", study.trials_dataframe().to_csv(index=False))
    done = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    save_trade_off(
        folder / "front.png",
        [(trial.values[1], trial.values[0]) for trial in done],
        [(trial.values[1], trial.values[0]) for trial in best],
        labels=(cost, "quality on the evaluation data"),
    )
    paths = [folder / "experiment" / f"trial{trial.number}.yaml" for trial in best]
    for trial, path in zip(best, paths, strict=True):
        write_atomic(path, experiment(trial, folder, start, overrides, cost))
        print(f"{trial.values[0]:.4f} at {trial.values[1]:.4g} {cost}: {path}")
    for path in set((folder / "experiment").glob("trial*.yaml")).difference(paths):
        path.unlink()  # of an earlier front


def experiment(
    trial: FrozenTrial, folder: Path, start: Sequence[str], overrides: Sequence[str], cost: str
) -> str:
    """The text of an experiment config with a trial's settings.

    Args:
        trial: finished.
        folder: of the search.
        start: overrides of the unpruned run that all its trials start from.
        overrides: that all its trials share.
        cost: name of the second objective.
    """
    read = _lasting([*overrides, *trial.user_attrs[OVERRIDES]])
    kept = {o.key_or_group: o.value() for o in read}
    groups = {k: v for k, v in kept.items() if (Path(config_dir()) / k).is_dir()}
    base = groups.pop("experiment", None)
    values = OmegaConf.create()
    for key, value in {**kept, "model.init_from": "unpruned"}.items():
        if key not in (*groups, "experiment"):
            OmegaConf.update(values, key, value)
    return "\n".join(
        [
            "# @package _global_",
            f"# Found by tsdtp tune: {trial.values[0]:.4f} at {trial.values[1]:.4g} {cost}.",
            f"# tsdtp train --config-dir={folder} experiment=trial{trial.number}",
            "# once its unpruned run is there, for example by:",
            f"# {shlex.join(['tsdtp', 'train', *(str(o.input_line) for o in _lasting(start))])}",
            "defaults:",
            *([f"  - {base}"] if base else []),  # as in the trial, the others outweigh it
            *(f"  - override /{group}: {as_text(choice)}" for group, choice in groups.items()),
            OmegaConf.to_yaml(values),
        ]
    )


def _lasting(overrides: Sequence[str]) -> Iterator[Override]:
    """Those that hold outside of a search, too."""
    for override in parse(overrides):
        key = override.key_or_group
        if key not in _LEFT_OUT and not key.endswith(".evaluate_on"):
            yield override
