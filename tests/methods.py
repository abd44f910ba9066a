"""Every method in configs/pruning, and how to build its pruner for the tiny models."""

from __future__ import annotations

import copy
from functools import cache

import torch
from omegaconf import OmegaConf
from tiny import REPOSITORY, SPECIAL, make_batch

from tsdtp.cli.config import instantiate
from tsdtp.models import calibrate

METHODS = sorted(path.stem for path in (REPOSITORY / "configs" / "pruning").glob("*.yaml"))
# Options that change what a method does are held to the same promises.
METHODS += ["ts_dtp:fuse=summary", "ts_dtp:fuse=similar"]
METHODS += ["ts_dtp:own_attention+learn_gamma"]
METHODS += ["ts_dtp:static_threshold", "ts_dtp:context"]
BUDGET = 0.55


def options_of(method: str) -> tuple[str, dict[str, str | bool]]:
    """The name and the options of METHOD:OPTION+OPTION=VALUE; without a value an option is set."""
    name, _, rest = method.partition(":")
    pairs = [option.partition("=") for option in filter(None, rest.split("+"))]
    return name, {key: value or True for key, _, value in pairs}


def build_pruner(method: str, **overrides):
    """A pruner for 4 layers of 32, its numbers random; options as in `options_of`."""
    name, options = options_of(method)
    config = OmegaConf.load(REPOSITORY / "configs" / "pruning" / f"{name}.yaml")
    config.update(options)
    if "task_feature_dim" in config:  # wider than this model, features would cost what they save
        config.task_feature_dim = min(config.task_feature_dim, 32)
    config = OmegaConf.merge({"pruning": config, "seed": 0}, {"pruning": overrides})
    torch.manual_seed(1)
    return instantiate(config.pruning, num_layers=4, hidden_size=32)


def calibrated(wrap, make, method: str, family: str, budget: float = BUDGET):
    """A pruned model in evaluation, calibrated to the budget where the method can honour one.

    Args:
        wrap: the class of the pruned model.
        make: family -> the plain Hugging Face model.
        method: as in `build_pruner`.
        family: of the model.
        budget: a fraction of FLOPs.
    """
    return copy.deepcopy(_calibrated(wrap, make, method, family, budget))


@cache  # searching for the threshold takes longer than most of what is then asked of the model
def _calibrated(wrap, make, method, family, budget):
    can = build_pruner(method).search is not None
    pruner = build_pruner(method, **({"budget": budget} if can else {}))
    model = wrap(make(family), pruner, special_ids=[SPECIAL]).eval()
    if can:
        calibrate(model, [make_batch(seed=s) for s in range(4)])
    return model
