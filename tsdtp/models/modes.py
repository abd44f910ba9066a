"""Helpers for any model: out of `torch.compile`, arguments of its forward, evaluation mode."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from inspect import signature
from typing import TypeVar

from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def uncompiled(model: Model) -> Model:
    """The model that `torch.compile` has wrapped, or the model itself."""
    return getattr(model, "_orig_mod", model)


def takes(model: nn.Module, name: str) -> bool:
    """Whether its forward has this argument."""
    return name in _arguments(type(uncompiled(model)))


@cache
def _arguments(kind: type[nn.Module]) -> frozenset[str]:
    return frozenset(signature(kind.forward).parameters)


@contextmanager
def evaluating(model: nn.Module):
    """Has a pruned model in evaluation mode, then every module in its own again: some may rest."""
    modules = [*model.modules(), model.hf_model]
    modes = [(module, module.training) for module in modules]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
