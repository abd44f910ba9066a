"""Pruning methods: one class in one file each; `none`, `random`, `topk`, `dtp`, `ts_dtp`, ..."""

from __future__ import annotations

import importlib
import pkgutil
import pydoc
from inspect import isabstract, isclass
from typing import TypeGuard

from tsdtp.pruning.base import TokenPruner
from tsdtp.pruning.state import Decision, TokenState

__all__ = ["Decision", "TokenPruner", "TokenState", "find_method", "method_names", "name_of"]


def method_names() -> list[str]:
    """Names of the methods: the modules of this package that define one."""
    return list(_methods())


def find_method(name: str | type[TokenPruner]) -> type[TokenPruner]:
    """The class of a method.

    Args:
        name: of its module here; the class itself; or, of one of another package, where it is, as
            in "my_package.mine.Mine".

    Raises:
        ValueError: for an unknown name or a class that is no whole method; lists the valid ones.
    """
    found: object = name
    if isinstance(name, str):
        found = _located(name) if "." in name else _methods().get(name)
    if _is_method(found):
        return found
    valid = ", ".join(method_names())
    raise ValueError(f"unknown pruning method {name!r}; valid: {valid}, or package.module.Class")


def name_of(method: type[TokenPruner]) -> str:
    """The name by which `find_method` finds a class again."""
    package, _, module = method.__module__.rpartition(".")
    return module if package == __name__ else f"{method.__module__}.{method.__qualname__}"


def _methods() -> dict[str, type[TokenPruner]]:
    modules = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return {name: method for name in modules if (method := _method_in(name))}


def _located(name: str) -> object:
    try:
        return pydoc.locate(name)
    except pydoc.ErrorDuringImport as error:
        raise ValueError(f"pruning method {name!r}: {error}") from error


def _is_method(found: object) -> TypeGuard[type[TokenPruner]]:
    return isclass(found) and issubclass(found, TokenPruner) and not isabstract(found)


def _method_in(module: str) -> type[TokenPruner] | None:
    full_name = f"{__name__}.{module}"
    members = vars(importlib.import_module(full_name)).values()
    methods = [m for m in members if _is_method(m) and m.__module__ == full_name]
    return methods[0] if methods else None
