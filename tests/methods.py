"""Every method in configs/pruning, and how to build its pruner for the tiny models."""

from __future__ import annotations

import torch
from omegaconf import OmegaConf
from tiny import REPOSITORY

from tsdtp.cli.config import instantiate

METHODS = sorted(path.stem for path in (REPOSITORY / "configs" / "pruning").glob("*.yaml"))
# Options that change what a method does are held to the same promises.
METHODS += ["ts_dtp:fuse=summary", "ts_dtp:fuse=similar"]
METHODS += ["ts_dtp:own_attention+learn_gamma"]
METHODS += ["ts_dtp:static_threshold", "ts_dtp:context"]
BUDGET = 0.55


def build_pruner(method: str, **overrides):
    """A pruner for 4 layers of 32, its numbers random; METHOD:OPTION+OPTION=VALUE sets options."""
    name, _, options = method.partition(":")
    config = OmegaConf.load(REPOSITORY / "configs" / "pruning" / f"{name}.yaml")
    for option in filter(None, options.split("+")):
        key, _, value = option.partition("=")
        config[key] = value or True
    if "task_feature_dim" in config:  # wider than this model, features would cost what they save
        config.task_feature_dim = min(config.task_feature_dim, 32)
    config = OmegaConf.merge({"pruning": config, "seed": 0}, {"pruning": overrides})
    torch.manual_seed(1)
    return instantiate(config.pruning, num_layers=4, hidden_size=32)
