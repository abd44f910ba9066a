"""Settings of a training that say nothing together, named before anything heavy is loaded."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from tsdtp.cli.check_holdout import holdout_faults
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


def _faults(config: DictConfig) -> Iterator[str]:
    teacher, every = config.teacher, config.validate_every
    alone = start_path(config) is None
    if not 0 <= teacher.noise <= 1:
        yield f"teacher.noise={teacher.noise}: valid is a share of the words, 0 to 1"
    if teacher.noise and (alone or not teacher.distillation):
        yield (
            "teacher.noise: of altered texts the teacher's logits alone are learnt; valid with "
            "model.init_from and teacher.distillation > 0"
        )
    if teacher.others and alone:
        yield "teacher.others: valid where model.init_from names the first teacher"
    if config.dropout is not None and not 0 <= config.dropout < 1:
        yield f"dropout={config.dropout}: valid is a probability, 0 to less than 1, or null"
    if every is not None and every < 1:
        yield f"validate_every={every}: valid is 1 or more epochs, or null"
    if config.log_every_n_steps < 1:
        yield f"log_every_n_steps={config.log_every_n_steps}: valid is 1 or more"
    if every is None and "early_stop" in config.callbacks:
        yield "validate_every=null: callbacks=early_stop needs validations; valid is 1 or more"
    yield from holdout_faults(config)
