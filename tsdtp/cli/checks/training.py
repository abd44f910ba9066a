"""Settings of a training that say nothing together, named before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig, ListConfig, OmegaConf

from tsdtp.cli.checks.holdout import holdout_faults
from tsdtp.cli.checks.values import is_number, is_whole
from tsdtp.cli.config import ConfigError
from tsdtp.cli.identity import start_path


def check_training(config: DictConfig) -> None:
    """Looks at teachers, dropout, validation, logging and rows held out.

    Args:
        config: of a run, complete.

    Raises:
        ConfigError: with the first thing that is wrong and what is valid.
    """
    for fault in _faults(config):
        raise ConfigError(fault)


_SHARES = (
    *("teacher.noise", "teacher.distillation"),
    *("optim.warmup", "budget_schedule.warmup", "budget_schedule.ramp", "task.label_smoothing"),
)


_PROFILERS = ("simple", "advanced", "pytorch")  # those of Lightning


def _faults(config: DictConfig) -> Iterator[str]:
    teacher, every = config.teacher, config.validate_every
    others = teacher.others
    if config.profiler not in (None, *_PROFILERS):
        yield f"profiler={config.profiler}: valid are {', '.join(_PROFILERS)}, or null"
    if others is not None and not isinstance(others, ListConfig):
        yield f"teacher.others={others}: valid is a list, as in [{others}]"
    alone = start_path(config) is None
    yield from _number_faults(config)
    yield from _length_faults(config)
    if teacher.noise and (alone or not teacher.distillation):
        yield (
            "teacher.noise: of altered texts the teacher's logits alone are learnt; valid with "
            "model.init_from and teacher.distillation > 0"
        )
    if teacher.others and alone:
        yield "teacher.others: valid where model.init_from names the first teacher"
    dropout = config.dropout
    if dropout is not None and not (is_number(dropout) and 0 <= dropout < 1):
        yield f"dropout={dropout}: valid is a probability, 0 to less than 1, or null"
    if every is None and "early_stop" in config.callbacks:
        yield "validate_every=null: callbacks=early_stop needs validations; valid is 1 or more"
    if "early_stop" in config.callbacks and _falls(config):
        yield (
            "callbacks=early_stop: accuracy falls while pruning.budget does; valid with "
            "budget_schedule.warmup=0 and budget_schedule.ramp=0, or without a budget"
        )
    if not config.bucketed and config.task.data.get("batch_tokens"):
        yield "bucketed=false: valid with task.data.batch_tokens=null, which goes by length"
    yield from holdout_faults(config)


def _falls(config: DictConfig) -> bool:
    """Whether the budget comes down while the model trains."""
    schedule = config.budget_schedule
    return config.pruning.get("budget") is not None and bool(schedule.warmup or schedule.ramp)


def _number_faults(config: DictConfig) -> Iterator[str]:
    schedule, temperature = config.budget_schedule, config.teacher.temperature
    for key in _SHARES:
        share = OmegaConf.select(config, key, default=0)
        if not is_number(share) or not 0 <= share <= 1:
            yield f"{key}={share}: valid is a share, 0 to 1"
    if schedule.warmup + schedule.ramp > 1 + 1e-9:
        yield "budget_schedule: its warmup and ramp together are more than 1, the whole training"
    if not is_number(temperature) or not temperature > 0:
        yield f"teacher.temperature={temperature}: valid is a number above 0"
    clip = config.gradient_clip
    if clip is not None and (not is_number(clip) or not clip >= 0):
        yield f"gradient_clip={clip}: valid is a norm, 0 (or null) for none"


def _length_faults(config: DictConfig) -> Iterator[str]:
    epochs, every = config.epochs, config.validate_every
    if epochs is not None and not is_whole(epochs, 0):
        yield f"epochs={epochs}: valid is 0 or more, or null where max_steps decides"
    if epochs is None and config.max_steps == -1:
        yield "epochs=null: valid where max_steps says when the training ends"
    if not is_whole(config.max_steps, -1):
        yield f"max_steps={config.max_steps}: valid is 0 or more, or -1 where epochs decide"
    if every is not None and not is_whole(every):
        yield f"validate_every={every}: valid is 1 or more epochs, or null"
