"""Whether a config's keys fit: those beside a `_target_` its signature, others the defaults.

And whether what is true or false there is so here.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeGuard

from hydra._internal.utils import _locate  # `get_class` logs the error as well
from omegaconf import DictConfig, Node, OmegaConf

from tsdtp.results import LATER

# What a run itself hands to a pruner, beside its config.
GIVEN = ("num_layers", "hidden_size")
# Whose keys are not those of the defaults: Hydra's, Hugging Face's, and names the user may choose.
_FREE = ("hydra", "task", "model.config", "callbacks", "logger")


def target_faults(config: DictConfig) -> Iterator[str]:
    """A line for each target that does not exist, unknown key and argument without a value."""
    for path, node in _targets(config):
        try:
            parameters = inspect.signature(_locate(node["_target_"])).parameters
        except Exception as error:  # importing somebody's module may raise anything
            yield f"{path}._target_: {' '.join(str(error).split())}"
            continue
        yield from _mismatches(path, node, dict(parameters))


def _mismatches(
    path: str, node: DictConfig, parameters: dict[str, inspect.Parameter]
) -> Iterator[str]:
    keys = [str(key) for key in node if not str(key).startswith("_")]
    named = {
        name: p for name, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    }
    for key in (key for key in keys if key in named and named[key].annotation in (bool, "bool")):
        yield from _no_truth(f"{path}.{key}", node._get_node(key))
    if all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        valid = [name for name in named if name not in GIVEN]
        yield from (unknown_key(f"{path}.{key}", valid) for key in keys if key not in named)
    if node.get("_partial_"):
        return
    for name, parameter in named.items():
        if parameter.default is parameter.empty and name not in (*keys, *GIVEN):
            yield f"no value given for {path}.{name}, which {node['_target_']} needs"


def _targets(node: DictConfig, path: str = "") -> Iterator[tuple[str, DictConfig]]:
    if "_target_" in node:
        yield path, node
    for key in node:
        child = node._get_node(key)
        if _is_node(child):
            yield from _targets(child, f"{path}.{key}".lstrip("."))


def key_faults(config: DictConfig, defaults: DictConfig, path: str = "") -> Iterator[str]:
    """A line for each key that the defaults do not have, or that is lacking.

    Hydra lets a file add any key at all: a misspelt one in an experiment would change nothing.
    """
    known = [*defaults]  # those without a value included
    for key in (str(key) for key in [*config, *(k for k in known if k not in config)]):
        place = f"{path}.{key}".lstrip(".")
        if key not in known:
            if place not in LATER or config[key] != LATER[place]:  # which changes nothing
                yield unknown_key(place, defaults)
        elif key not in config:
            if place not in LATER and not OmegaConf.is_missing(config, key):
                yield f"no value given for {place}"
        elif place not in _FREE:
            mine, theirs = config._get_node(key), defaults._get_node(key)
            if _is_plain(mine) and _is_plain(theirs):
                yield from key_faults(mine, theirs, place)


def truth_faults(config: DictConfig, defaults: DictConfig, path: str = "") -> Iterator[str]:
    """A line for each word where the defaults have true or false: any word at all would be true."""
    for key in (str(key) for key in config if key in defaults and key != "hydra"):
        place = f"{path}.{key}".lstrip(".")
        mine, theirs = config._get_node(key), defaults._get_node(key)
        if _is_node(mine) and _is_node(theirs):
            yield from truth_faults(mine, theirs, place)
        elif isinstance(theirs, Node) and isinstance(theirs._value(), bool):
            yield from _no_truth(place, mine)


def _no_truth(place: str, node: Any) -> Iterator[str]:
    value = node._value() if isinstance(node, Node) else node
    if value not in (True, False, None) and not node._is_interpolation():  # 1 and 0 included
        yield f"{place}={value}: valid are true and false"


def places_of(path: str, config: DictConfig) -> list[str]:
    """Where else a config has a key of the same name, at most one level down."""
    name = path.rpartition(".")[2]
    groups = {str(group): config._get_node(group) for group in config if group != "hydra"}
    return [f"{group}.{name}" for group, node in groups.items() if _is_node(node) and name in node]


def unknown_key(path: str, valid: Iterable[Any], elsewhere: Sequence[str] = ()) -> str:
    """Names a key that does not exist, the likeliest one meant and those that do."""
    parents, _, last = path.rpartition(".")
    names = sorted(map(str, valid))
    close = difflib.get_close_matches(last, names, n=1) or elsewhere
    hint = f" (did you mean {' or '.join(close)}?)" if close else ""
    where = f"in {parents}" if parents else "at the top"
    return f"no such key: {path}{hint}; valid {where}: {', '.join(names)}"


def _is_plain(node: object) -> TypeGuard[DictConfig]:
    return _is_node(node) and "_target_" not in node


def _is_node(node: object) -> TypeGuard[DictConfig]:
    return isinstance(node, DictConfig) and not node._is_none() and not node._is_missing()
