"""Config errors in a line or two with the valid choices, before anything heavy is loaded."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import NoReturn

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from tsdtp.cli.config import HYDRA_VERSION_BASE, ConfigError, config_dir


def check_command(config_name: str, arguments: Sequence[str]) -> None:
    """Composes what a command line asks for, every swept value of it, and throws it away.

    Raises:
        ConfigError: for an override, option or key that does not exist.
    """
    overrides = [a for a in arguments if not a.startswith("-")]
    flags = {a.split("=")[0] for a in arguments if a.startswith("-")}
    if flags & {"--help", "-h", "--hydra-help", "--info", "-sc", "--shell-completion"}:
        return
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except HydraException as error:
        raise ConfigError(f"cannot read the command line: {_first_line(error)}") from error
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        for variant in _variants(parsed):
            _compose(config_name, variant)


def _variants(overrides: list[Override]) -> Iterator[list[str]]:
    """Single-run command lines in which each swept value occurs at least once."""
    choices = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [o.input_line or ""]
        for o in overrides
    ]
    if not choices:
        yield []
    for row in zip_longest(*choices):
        yield [value or options[0] for value, options in zip(row, choices, strict=True)]


def _compose(config_name: str, overrides: list[str]) -> None:
    overrides = [o for o in overrides if not o.startswith(("hydra.", "hydra/", "+hydra"))]
    try:
        check_targets(compose(config_name, overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(error, config_name)) from error


def _explain(error: Exception, config_name: str) -> str:
    text = str(error)
    if option := re.search(r"Could not find '(.+?)'[\s\S]*?Available options in '(.+?)':", text):
        choices = ", ".join(re.findall(r"\n\t(\S+)", text))
        return f"no such option: {option[1].replace('/', '=')}; valid for {option[2]}: {choices}"
    if missing := re.search(r"Could not (?:override|append to) '(.+?)'", text):
        return _unknown_key(missing[1], config_name)
    return _first_line(error)


def _unknown_key(key: str, config_name: str) -> str:
    """Names the keys beside a misspelt one, the likeliest first."""
    *parents, last = re.split(r"[./]", key.split("@")[0])
    config = compose(config_name)
    parent = OmegaConf.select(config, ".".join(parents)) if parents else config
    valid = [str(k) for k in parent] if isinstance(parent, DictConfig) else []
    where = f"in {'.'.join(parents)}" if parents else "at the top"
    close = difflib.get_close_matches(last, valid, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"no such key: {key}{hint}; valid {where}: {', '.join(sorted(valid))}"


def check_targets(config: DictConfig) -> None:
    """Every `_target_` must exist and every key beside it be one of its arguments.

    Raises:
        ConfigError: names the key and the valid ones.
    """
    for path, node in _targets(config):
        try:
            parameters = inspect.signature(get_class(node["_target_"])).parameters
        except ImportError as error:
            raise ConfigError(f"{path}._target_: {_first_line(error)}") from error
        if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            continue
        keys = [str(k) for k in node if not str(k).startswith("_")]
        if unknown := [k for k in keys if k not in parameters]:
            valid = ", ".join(p for p in parameters if p not in ("num_layers", "hidden_size"))
            raise ConfigError(f"no such key: {path}.{unknown[0]}; valid: {valid}")


def _targets(node: DictConfig, path: str = "") -> Iterator[tuple[str, DictConfig]]:
    if "_target_" in node:
        yield path, node
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            yield from _targets(child, f"{path}.{key}".lstrip("."))


def check_filled(config: DictConfig) -> None:
    """Raises ConfigError for values that the user has to give and has not."""
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise ConfigError(f"no value given for {', '.join(missing)}")


def check_one_process(hardware: DictConfig) -> None:
    """Refuses hardware of several processes within a multirun's own process.

    Raises:
        ConfigError: each further process would repeat the command line, the whole multirun.
    """
    devices = hardware.devices
    devices = len(devices) if isinstance(devices, ListConfig) else devices
    if (hardware.strategy, devices, hardware.num_nodes) != ("auto", 1, 1):
        raise ConfigError(
            "this hardware trains in several processes, and each would start the multirun again; "
            "valid: one run at a time, or hydra/launcher=process"
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def exit_with(error: Exception, program: str) -> NoReturn:
    """Ends the process with one line and code 2."""
    print(f"{program}: {error}", file=sys.stderr)
    sys.exit(2)
