"""AdamW and its schedule; the pruner learns at a rate of its own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from transformers import get_scheduler

from tsdtp.models import PrunedModel

# Those of transformers that need nothing but the steps of a warm-up and of the training.
SCHEDULES = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial", "inverse_sqrt"),
    *("constant", "constant_with_warmup"),
)


def matrices(model: PrunedModel) -> set[str]:
    """Names of the weights with two dimensions or more: no biases, no normalisations."""
    return {name for name, parameter in model.named_parameters() if parameter.ndim >= 2}


@dataclass(frozen=True)
class AdamW:
    """How to optimise.

    Attributes:
        lr: of the model.
        pruner_lr: of the pruner's own weights, which start from nothing.
        weight_decay: of matrices; biases and normalisations have none.
        warmup: fraction of the steps over which the rates rise.
        schedule: one of `SCHEDULES`, as transformers' `get_scheduler` has them.
        betas: of Adam.
        eps: of Adam.

    Raises:
        ValueError: for a schedule that is not known, or betas that Adam does not take.
    """

    lr: float = 5e-5
    pruner_lr: float = 1e-3
    weight_decay: float = 0.01
    warmup: float = 0.1
    schedule: str = "linear"
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"optim.schedule={self.schedule}: valid are {', '.join(SCHEDULES)}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"optim.betas={self.betas}: valid are two numbers, 0 to less than 1")

    def build(self, model: PrunedModel, total_steps: int, decayed: Collection[str] | None = None):
        """Optimizer and per-step scheduler.

        Args:
            model: whose weights are trained.
            total_steps: of the training.
            decayed: names of the weights that decay; default: the `matrices` of the model.
        """
        decayed = matrices(model) if decayed is None else decayed
        groups: dict[tuple[bool, bool], list] = {}
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                key = (name.startswith("pruner."), name in decayed)
                groups.setdefault(key, []).append(parameter)
        parameters = [
            {
                "params": group,
                "lr": self.pruner_lr if of_pruner else self.lr,
                "weight_decay": self.weight_decay if matrix else 0.0,
            }
            for (of_pruner, matrix), group in groups.items()
        ]
        optimizer = torch.optim.AdamW(
            parameters, lr=self.lr, betas=self.betas, eps=self.eps, fused=True
        )
        warmup = int(self.warmup * total_steps)
        return optimizer, get_scheduler(self.schedule, optimizer, warmup, total_steps)
