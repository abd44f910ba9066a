"""Every method in configs/pruning, and how to build its pruner for the tiny models."""

from __future__ import annotations

import torch
from omegaconf import OmegaConf
from tiny import REPOSITORY

from tsdtp.cli.config import instantiate

METHODS = sorted(path.stem for path in (REPOSITORY / "configs" / "pruning").glob("*.yaml"))
BUDGET = 0.55


def build_pruner(method: str, **overrides):
    config = OmegaConf.load(REPOSITORY / "configs" / "pruning" / f"{method}.yaml")
    config = OmegaConf.merge({"pruning": config, "seed": 0}, {"pruning": overrides})
    torch.manual_seed(1)
    return instantiate(config.pruning, num_layers=4, hidden_size=32)
