"""What `tsdtp tune` can be told about a search, beside the settings of its runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from tsdtp.cli.checks.keys import unknown_key
from tsdtp.cli.checks.values import check_whole, is_number
from tsdtp.cli.config import ConfigError, plain
from tsdtp.cli.presets import load_preset

OWN = (
    *("hparams", "trials", "sampler", "sampler_seed", "cost", "hopeless"),
    *("changed_code", "dir", "slots"),
)
USAGE = """\
usage: tsdtp tune [hparams=NAME|FILE.yaml] [trials=N] [KEY=VALUE ...]

Searches settings for quality against cost, and writes the best as experiments.
  trials=N               in all; the same command again goes on to as many
  sampler=tpe|nsga2      of Optuna; sampler_seed=N
  cost=flops_ratio|seconds
  hopeless=N             stop a trial below the median of at least N that cost no more; 0: never
  dir=FOLDER             of the search; default: outputs/tune/NAME
  changed_code=ask|keep  where trials come from other code: stop and say so, or go on
  slots=[...]            devices or groups of CPU cores, a trial each
  KEY=VALUE              of every run, as `tsdtp train` takes it; then it is not searched
Example: tsdtp tune trials=20 task=sst2 model=minilm_l6 optim.lr=1e-4"""
_CHOICES = {
    "sampler": ("tpe", "nsga2"),
    "cost": ("flops_ratio", "seconds"),
    "changed_code": ("ask", "keep"),
}
_RUNS = ("start", "common", "trial", "space")  # what makes the runs of a search
_LEAST = {"trials": 1, "hopeless": 0, "sampler_seed": 0}


def check_spelling(others: Sequence[str]) -> None:
    """Raises ConfigError for a key of the runs that is rather one of `OWN`, misspelt."""
    for name in (other.split("=")[0] for other in others):
        if get_close_matches(name, OWN, cutoff=0.8):
            raise ConfigError(unknown_key(name, OWN))


def load_settings(own: Sequence[str]) -> dict[str, Any]:
    """configs/hparams/NAME.yaml with what the command line changes of it.

    Raises:
        ConfigError: for an unknown name or choice, a number that is none, or a range of no values.
    """
    chosen = OmegaConf.from_dotlist(list(own))
    name = str(chosen.get("hparams", "ts_dtp"))
    settings = plain(cast(DictConfig, OmegaConf.merge(load_preset("hparams", name), chosen)))
    folder = f"outputs/tune/{Path(name).stem}"
    settings = {"dir": folder, "slots": None, "changed_code": "ask", **settings}
    for key in (key for key in settings if key not in (*OWN, *_RUNS)):
        raise ConfigError(f"hparams={name}: {unknown_key(key, (*OWN, *_RUNS))}")
    if missing := [key for key in (*_CHOICES, *_LEAST, *_RUNS) if key not in settings]:
        raise ConfigError(f"hparams={name}: no value given for {', '.join(missing)}")
    for key, valid in _CHOICES.items():
        if settings[key] not in valid:
            raise ConfigError(f"no such {key}: {settings[key]}; valid: {', '.join(valid)}")
    for key, least in _LEAST.items():
        check_whole(key, settings[key], least)
    if not isinstance(settings["space"], Mapping):
        raise ConfigError(f"space={settings['space']}; valid: a key of the config each, with range")
    for key, range_ in settings["space"].items():
        _check_range(f"space.{key}", range_)
    return {**settings, "dir": str(settings["dir"])}  # 20240501 is a number, too


def _check_range(key: str, range_: Any) -> None:
    keys = set(range_) if isinstance(range_, Mapping) else set()
    if keys == {"choices"}:
        _check_choices(key, range_["choices"])
        return
    if not {"low", "high"} <= keys <= {"low", "high", "log"}:
        raise ConfigError(f"{key}: {range_}; valid: choices, or low, high and log")
    low, high, log = range_["low"], range_["high"], range_.get("log", False)
    if not (is_number(low) and is_number(high) and low < high):
        raise ConfigError(f"{key}: {range_}; valid: low below high")
    if log not in (True, False):
        raise ConfigError(f"{key}: {range_}; valid for log: true, false")
    if log and low <= 0:
        raise ConfigError(f"{key}: {range_}; valid with log: low above 0")


def _check_choices(key: str, choices: Any) -> None:
    """Lists among them Optuna only takes until it compares them."""
    single = bool | int | float | str | None
    if not isinstance(choices, list) or not choices:
        raise ConfigError(f"{key}: {choices}; valid for choices: a list of values")
    if other := [choice for choice in choices if not isinstance(choice, single)]:
        raise ConfigError(
            f"{key}: {other[0]} among the choices; valid are numbers and texts: '{other[0]}'"
        )
