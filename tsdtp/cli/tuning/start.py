"""The unpruned run that every trial of a search starts from and learns from."""

from __future__ import annotations

from collections.abc import Sequence

from hydra import initialize_config_dir
from omegaconf import OmegaConf

from tsdtp.cli.checks.composing import composed
from tsdtp.cli.config import HYDRA_VERSION_BASE, ConfigError, as_text, config_dir
from tsdtp.cli.sweep import product

# Of a run that starts from none and learns from none.
_ALONE = {"model.init_from": None, "teacher.noise": 0, "teacher.others": [], "warm_start": True}


def single(overrides: Sequence[str]) -> list[str]:
    """Overrides of one run; of two for one key the later counts.

    Raises:
        ConfigError: for one that cannot be read, or has several values.
    """
    first, *others = product(overrides)
    if others:
        swept = [old for old, new in zip(first, others[-1], strict=True) if old != new]
        raise ConfigError(
            f"several values of {', '.join(o.split('=')[0] for o in swept)}; valid: one, for what "
            "is searched stands in the space of hparams"
        )
    return first


def start_overrides(overrides: Sequence[str]) -> list[str]:
    """Overrides of the search without what they, or their experiment, say of pruned runs.

    Raises:
        ConfigError: for an override that cannot be read, or an option that does not exist.
    """
    kept = single([*(o for o in overrides if not o.startswith("pruning.")), "pruning=none"])
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        config = composed("train", kept)
    fixed = {"pruning.budget": None}
    if config.model.init_from in (None, "unpruned"):
        fixed |= _ALONE
    other = [f"{k}={as_text(v)}" for k, v in fixed.items() if OmegaConf.select(config, k) != v]
    surplus = [key for key in config.pruning if key not in ("_target_", "budget")]
    return [*kept, *other, *(f"~pruning.{key}" for key in surplus)]
