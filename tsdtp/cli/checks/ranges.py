"""Ranges and choices of single settings of any command: a typo there may cost a whole training."""

from __future__ import annotations

from collections.abc import Mapping

from omegaconf import DictConfig, ListConfig, OmegaConf

from tsdtp.cli.checks.keys import unknown_key
from tsdtp.cli.checks.values import (
    check_choice,
    check_number,
    check_whole,
    is_number,
    is_whole,
)
from tsdtp.cli.config import ConfigError

_LEAST = {
    **{f"benchmark.{key}": 1 for key in ("examples", "batch_size", "new_tokens")},
    "benchmark.rounds": 2,  # or there is no spread
    **{f"budget_schedule.{key}": 1 for key in ("examples", "final_examples")},
    **{key: 1 for key in ("batch_size", "eval_batch_size")},
    "task.data.max_length": 3,  # a word between two special tokens
    **{f"task.data.{key}": 1 for key in ("train_examples", "eval_examples")},
    "seed": 0,
    "teacher.attribution_every": 0,
    "teacher.attribution_steps": 1,
    **{f"teaching.{key}": 0 for key in ("examples", "epochs")},
    "teaching.batch_size": 1,
    "task.bootstrap": 0,
    "budget_schedule.updates": 1,
    "log_every_n_steps": 1,
}
_WHOLE_OR_NULL = (
    *("task.generation.num_beams", "task.generation.max_new_tokens", "num_beams"),
    *("task.data.train_limit", "task.data.eval_limit", "task.data.batch_tokens"),
    "hardware.threads",
)
_GENERATION = {"num_beams", "max_new_tokens"}  # that ours set
_NUMBERS = (
    *(f"optim.{key}" for key in ("lr", "pruner_lr", "weight_decay", "eps")),
    *("teaching.lr", "benchmark.min_time", "model.auxiliary_weight"),
)
_CHOICES = {
    "benchmark.order": ("plain", "sorted"),
    "hardware.dtype": ("float32", "bfloat16", "float16", "float64"),
    # What becomes of finished runs of other settings and of other code, where this one would be.
    "changed_settings": ("ask", "rerun"),
    "changed_code": ("ask", "keep", "rerun"),
}


def check_ranges(config: DictConfig) -> None:
    """Looks at how a command calibrates, evaluates and times; what it has no key for is left out.

    Raises:
        ConfigError: with the first thing that is wrong and what is valid.
    """
    missing = object()
    for key, least in _LEAST.items():
        if (value := OmegaConf.select(config, key, default=missing)) is not missing:
            check_whole(key, value, least)
    for key in _WHOLE_OR_NULL:
        if not is_whole(value := OmegaConf.select(config, key)) and value is not None:
            raise ConfigError(f"{key}={value}: valid is 1 or more, or null")
    for key in _NUMBERS:
        if (value := OmegaConf.select(config, key, default=missing)) is not missing:
            check_number(key, value)
    for key, valid in _CHOICES.items():
        if (value := OmegaConf.select(config, key, default=missing)) is not missing:
            check_choice(key, value, valid)
    _check_lengths(config)
    _check_generation(config)


def _check_generation(config: DictConfig) -> None:
    """Settings of transformers' `generate`, of which it would take no notice or stop at the end.

    Raises:
        ConfigError: for one that is not known, or that asks for several translations of a text.
    """
    settings = OmegaConf.select(config, "task.generation", default={})
    if not isinstance(settings, Mapping | DictConfig):
        raise ConfigError(f"task.generation={settings}: valid are settings, as in {{num_beams: 4}}")
    known = _GENERATION if not settings.keys() - _GENERATION else _settings_of_generate()
    for key in (str(key) for key in settings if key not in known):
        raise ConfigError(f"task.generation: {unknown_key(key, sorted(known))}")
    if (several := settings.get("num_return_sequences")) not in (None, 1):
        raise ConfigError(
            f"task.generation.num_return_sequences={several}: valid is 1, one translation a text"
        )


def _settings_of_generate() -> set[str]:
    from transformers import GenerationConfig  # seconds, where one of ours would have done

    return {key for key in GenerationConfig().to_dict() if not key.startswith("_")}


def _check_lengths(config: DictConfig) -> None:
    """The lengths of a benchmark's sequences, and what stays of them block by block."""
    tokens, kept = config.get("tokens"), config.get("keep_schedule")
    lengths = tokens if isinstance(tokens, ListConfig) else [tokens, tokens]
    if tokens is not None and not (len(lengths) == 2 and all(is_whole(n, 0) for n in lengths)):
        raise ConfigError(f"tokens={tokens}: valid is 3 or more, or [SHORTEST,LONGEST]")
    listed = isinstance(kept, ListConfig) and all(is_number(share) for share in kept)
    if kept is not None and not listed:
        raise ConfigError(f"keep_schedule={kept}: valid is a list, a share for each block")
