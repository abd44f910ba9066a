"""Settings of what comes after a training: a typo there would cost the whole of it."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from tsdtp.cli.config import ConfigError

_LEAST = {
    **{f"benchmark.{key}": 1 for key in ("examples", "batch_size", "new_tokens")},
    "benchmark.rounds": 2,  # or there is no spread
    **{f"budget_schedule.{key}": 1 for key in ("examples", "final_examples")},
    "eval_batch_size": 1,
}
_CHOICES = {
    "benchmark.order": ("plain", "sorted"),
    "hardware.dtype": ("float32", "bfloat16", "float16", "float64"),
}


def check_measuring(config: DictConfig) -> None:
    """Looks at how a command calibrates, evaluates and times; what it has no key for is left out.

    Raises:
        ConfigError: with the first thing that is wrong and what is valid.
    """
    for fault in _faults(config):
        raise ConfigError(fault)


def _faults(config: DictConfig) -> Iterator[str]:
    missing = object()
    for key, least in _LEAST.items():
        value = OmegaConf.select(config, key, default=missing)
        if value is not missing and (type(value) is not int or value < least):
            yield f"{key}={value}: valid is {least} or more"
    for key, valid in _CHOICES.items():
        value = OmegaConf.select(config, key, default=missing)
        if value is not missing and value not in valid:
            yield f"{key}={value}: valid are {', '.join(valid)}"
    time = OmegaConf.select(config, "benchmark.min_time", default=0)
    if not isinstance(time, int | float) or time < 0:
        yield f"benchmark.min_time={time}: valid is 0 seconds or more"
