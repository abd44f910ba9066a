"""How a model comes: each of its modules in a mode of its own, the whole perhaps compiled."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TypeVar

from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def uncompiled(model: Model) -> Model:
    """The model that `torch.compile` has wrapped, or the model itself."""
    return getattr(model, "_orig_mod", model)


@contextmanager
def modes_restored(model: nn.Module):
    """Puts every module of a pruned model back into the mode it was in: some may be frozen."""
    modules = [*model.modules(), model.hf_model]
    modes = [(module, module.training) for module in modules]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
