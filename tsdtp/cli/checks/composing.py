"""Composes configs, and says in a line or two what is wrong where it cannot."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tsdtp.cli.checks.keys import places_of, unknown_key
from tsdtp.cli.config import ConfigError, missing_extra


class MissingExtraError(ConfigError):
    """A config needs a package that is not installed; the message names the extra."""


# Configs of Hydra plugins that ours build upon, and the extra of this package that brings them.
_EXTRAS = {"hydra/launcher/submitit_slurm": "slurm"}


def parse(overrides: Sequence[str]) -> list[Override]:
    """Reads overrides as Hydra does; `glob(...)` has its values where Hydra is initialised.

    Raises:
        ConfigError: with the one that cannot be read.
    """
    hydra = GlobalHydra.instance()
    loader = hydra.config_loader() if hydra.is_initialized() else None
    try:
        return OverridesParser.create(loader).parse_overrides(list(overrides))
    except HydraException as error:
        bare = [o for o in overrides if "=" not in o and not o.startswith("~")]
        hint = f"; valid: {bare[0]}=VALUE" if bare else ""
        raise ConfigError(f"cannot read the command line: {first_line(error)}{hint}") from error


def composed(config_name: str, overrides: list[str]) -> DictConfig:
    """A config with Hydra's own part; Hydra must be initialised.

    Raises:
        ConfigError: in a line or two where it cannot be composed.
    """
    try:
        return compose(config_name, overrides, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise _explain(error, config_name, overrides) from error


def _explain(error: Exception, config_name: str, overrides: list[str]) -> ConfigError:
    text = str(error)
    if isinstance(error, YAMLError):
        return ConfigError(" ".join(text.split()))
    lost = re.search(r"Could not (?:find|load) '(.+?)'", text)
    if lost and lost[1] in _EXTRAS:
        return MissingExtraError(missing_extra(lost[1], _EXTRAS[lost[1]]))
    text = text.split("Config search path:")[0]
    if option := re.search(r"Could not find '(.+?)'[\s\S]*?Available options in '(.+?)':", text):
        choices = ", ".join(re.findall(r"\n\t(\S+)", text))
        chosen = "=".join(option[1].rsplit("/", 1))
        return ConfigError(f"no such option: {chosen}; valid for {option[2]}: {choices}")
    if missing := re.search(r"Could not (?:override|append to) '(.+?)'", text):
        return ConfigError(_unknown_key(missing[1], config_name, overrides))
    return ConfigError(first_line(error))


def _unknown_key(key: str, config_name: str, overrides: list[str]) -> str:
    """Names the keys beside a misspelt one, in the options that the command line chooses."""
    key = key.split("@")[0].replace("/", ".")
    parents = key.split(".")[:-1]
    groups = GlobalHydra.instance().config_loader()
    chosen = [o for o in overrides if groups.get_group_options(o.split("=")[0])]
    config = compose(config_name, chosen, return_hydra_config=True)
    parent = OmegaConf.select(config, ".".join(parents)) if parents else config
    valid = parent if isinstance(parent, DictConfig) else []
    return unknown_key(key, valid, places_of(key, config))


def first_line(error: Exception) -> str:
    """What an error says, without the lines that follow."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def sharing(compose: Callable[[list[str]], DictConfig]) -> Callable[[Sequence[str]], DictConfig]:
    """A `compose` that makes one config for command lines that differ in plain values alone.

    Hydra takes a quarter of a second for each config, while plain values are quickly set.

    Args:
        compose: makes a config from overrides, where Hydra is initialised.

    Returns:
        A function that does likewise. What it returns is valid until the next call;
        `hydra.overrides`, and the name of a folder made of them, are those of the first command
        line that chose these options.
    """
    first: dict[tuple[str, ...], tuple[DictConfig, dict[str, object]]] = {}
    read = cache(_choice_or_value)

    def composed(overrides: Sequence[str]) -> DictConfig:
        pairs = [pair for pair in map(read, overrides) if pair is not None]
        if len(pairs) < len(overrides):
            return compose([*overrides])
        kind, values = tuple(key for key, _ in pairs), {key: v[0] for key, v in pairs if v}
        if kind not in first:
            config = compose([*overrides])
            if any(_is_option(config, key) for key in values):
                return config
            first[kind] = config, values.copy()
        config, now = first[kind]
        for key in (key for key in values if repr(values[key]) != repr(now[key])):  # 1 is not true
            OmegaConf.update(config, key, values[key])
        now.update(values)
        return config

    return composed


def _is_option(config: DictConfig, key: str) -> bool:
    """Whether a value has become a whole node: of a group that a user's own folder alone has."""
    return OmegaConf.is_dict(OmegaConf.select(config, key, throw_on_resolution_failure=False))


def _choice_or_value(override: str) -> tuple[str, tuple[object, ...]] | None:
    """The text of an override that chooses an option, or the key and the value that it sets.

    None for what does more: what it changes would depend on what stands before it.
    """
    [read] = parse([override])
    key = read.key_or_group
    if key.startswith("hydra") or GlobalHydra.instance().config_loader().get_group_options(key):
        return override, ()
    if read.type is not OverrideType.CHANGE or read.package or read.is_sweep_override():
        return None
    value = read.value()
    return None if isinstance(value, dict) else (key, (value,))
