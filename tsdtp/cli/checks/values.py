"""Checks of single settings of a config, in a line with the valid choices."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TypeGuard

from omegaconf import DictConfig, OmegaConf

from tsdtp.cli.config import ConfigError, config_dir, device_count
from tsdtp.results import LATER, METRICS


def check_variant(name: object) -> None:
    """A variant names a folder, between dashes, and must not look like a budget.

    Raises:
        ConfigError: if it is no such name.
    """
    if name is not None and not re.fullmatch(r"[A-Za-z][\w.]*", str(name)):
        raise ConfigError(f"variant={name}: valid is a letter, then letters, digits, _ and .")


def is_whole(value: object, least: int = 1) -> bool:
    """Whether it is a whole number, and not too small."""
    return type(value) is int and value >= least


def check_whole(key: str, value: object, least: int = 1) -> None:
    """Raises ConfigError for what is no such number."""
    if not is_whole(value, least):
        raise ConfigError(f"{key}={value}: valid is {least} or more")


def is_number(value: object) -> TypeGuard[float]:
    """Whether one can reckon with it: a finite number, and not true or false."""
    return isinstance(value, int | float) and type(value) is not bool and math.isfinite(value)


def check_number(key: str, value: object) -> None:
    """Raises ConfigError for what is no finite number of 0 or more."""
    if not is_number(value) or value < 0:
        raise ConfigError(f"{key}={value}: valid is a number, 0 or more")


def check_choice(key: str, value: object, valid: Sequence[str]) -> None:
    """Raises ConfigError for what is none of the choices."""
    if value not in valid:
        raise ConfigError(f"{key}={value}: valid are {', '.join(valid)}")


def check_devices(hardware: DictConfig) -> None:
    """Raises ConfigError for what names no devices, or CPUs one by one."""
    devices, on_gpu = hardware.devices, hardware.accelerator == "gpu"
    several = isinstance(devices, Sequence) and not isinstance(devices, str)
    if on_gpu and devices == -1 or is_whole(devices):
        return
    if not on_gpu:
        raise ConfigError(f"hardware.devices={devices}: valid is 1 or more processes")
    if not (several and devices and all(is_whole(number, 0) for number in devices)):
        valid = "1 or more, -1 for all, or the numbers of some, as in [3]"
        raise ConfigError(f"hardware.devices={devices}: valid is {valid}")


def check_filled(config: DictConfig) -> None:
    """Raises ConfigError for values that are not given, and for a figure that no task has."""
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise ConfigError(f"no value given for {', '.join(missing)}")
    check_choice("task.metric", config.task.metric, METRICS)
    check_model_file(config)


def check_model_file(config: DictConfig) -> None:
    """Raises ConfigError for keys that a model's file, perhaps the user's own, does not have."""
    example = OmegaConf.load(f"{config_dir()}/model/own.yaml")
    wanted = [f"model.{key}" for key in example if key not in [*config.model]]
    if missing := [key for key in wanted if key not in LATER]:
        name = config.model.get("name", "?")
        raise ConfigError(
            f"model={name}: its file lacks {', '.join(missing)}; valid is one like model/own.yaml"
        )


def check_one_process(hardware: DictConfig) -> None:
    """Refuses hardware of several processes within a multirun's own process.

    Raises:
        ConfigError: each further process would repeat the command line, the whole multirun.
    """
    if (hardware.strategy, device_count(hardware), hardware.num_nodes) != ("auto", 1, 1):
        raise ConfigError(
            "this hardware trains in several processes, and each would start the multirun again; "
            "valid: one run at a time, or hydra/launcher=process"
        )
