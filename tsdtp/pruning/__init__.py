"""Pruning methods: one class in one file each; `none`, `random`, `topk`, `dtp`, `ts_dtp`, ..."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

from tsdtp.pruning.base import TokenPruner
from tsdtp.pruning.state import Decision, TokenState

__all__ = ["Decision", "TokenPruner", "TokenState", "find_method", "method_names"]


def method_names() -> list[str]:
    """Names of the methods: the modules of this package that define one."""
    modules = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return [name for name in modules if _method_in(name)]


def find_method(name: str) -> type[TokenPruner]:
    """The class of a method by the name of its module.

    Raises:
        ValueError: for an unknown name; lists the valid ones.
    """
    if name in method_names():
        found = _method_in(name)
        if found is not None:
            return found
    raise ValueError(f"unknown pruning method {name!r}; valid: {', '.join(method_names())}")


def _method_in(module: str) -> type[TokenPruner] | None:
    full_name = f"{__name__}.{module}"
    members = vars(importlib.import_module(full_name)).values()
    own = [m for m in members if inspect.isclass(m) and m.__module__ == full_name]
    methods = [m for m in own if issubclass(m, TokenPruner) and not inspect.isabstract(m)]
    return methods[0] if methods else None
