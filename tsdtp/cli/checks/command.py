"""Config errors in a line or two with the valid choices, before anything heavy is loaded."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import NoReturn

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tsdtp.cli.checks.keys import check_keys, check_targets, places_of, unknown_key
from tsdtp.cli.checks.measuring import check_measuring
from tsdtp.cli.checks.values import (
    check_changed,
    check_devices,
    check_model_file,
    check_threads,
    check_variant,
)
from tsdtp.cli.config import (
    HYDRA_VERSION_BASE,
    ConfigError,
    config_dir,
    find_preset,
    missing_extra,
    quoted,
)


class MissingExtraError(ConfigError):
    """A config needs a package that is not installed; the message names the extra."""


# Configs of Hydra plugins that ours build upon, and the extra of this package that brings them.
_EXTRAS = {"hydra/launcher/submitit_slurm": "slurm"}


def check_command(config_name: str, arguments: Sequence[str]) -> None:
    """Composes what a command line asks for, every swept value of it, and throws it away.

    Raises:
        ConfigError: for an override, option or key that does not exist, or a missing extra.
    """
    options, unknown = get_args_parser().parse_known_args(arguments)
    if unknown and not unknown[0].startswith("-"):
        raise ConfigError(f"{unknown[0]}: after an option; valid: all settings first, then options")
    if unknown:
        name = unknown[0].lstrip("-").split("=")[0]
        raise ConfigError(
            f"no such option: {unknown[0]}; settings have no dashes: {name}=VALUE (and --help)"
        )
    if options.help or options.hydra_help or options.info or options.shell_completion:
        return
    own = user_folder(options.config_dir)
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        variants, defaults = _variants(parse(options.overrides)), _defaults(config_name, *own)
        for variant in {tuple(seedless(each)[0]): each for each in variants}.values():
            config = composed(config_name, [*own, *variant])
            check_variant(config.get("variant"))
            check_threads(OmegaConf.select(config, "hardware.threads"))
            check_changed(config)
            if "hardware" in config:
                check_devices(config.hardware)
            check_measuring(config)
            check_targets(config)
            if "model" in config:
                check_model_file(config)
            check_keys(config, defaults)


@cache  # where one process checks many commands
def _defaults(config_name: str, *own: str) -> DictConfig:
    return composed(config_name, [*own])


def user_folder(folder: str | Path | None) -> list[str]:
    """The override by which a config folder of the user's own is searched as well."""
    if folder is None:
        return []
    place = quoted(f"file://{Path(folder).resolve()}")  # no URI: Hydra takes % for a letter
    return [f"hydra.searchpath=[{place}]"]


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


def load_preset(group: str, name: str) -> DictConfig:
    """Reads configs/GROUP/NAME.yaml, or a file of the user's own.

    Raises:
        ConfigError: for an unknown name, with the valid ones, or a file that is no such yaml.
    """
    path = find_preset(group, name)
    try:
        preset = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(preset, DictConfig):
        raise ConfigError(f"{path}: a list; valid: keys with values, as in the others of {group}")
    return preset


def _variants(overrides: list[Override]) -> Iterator[list[str]]:
    """Single-run command lines in which each swept value occurs at least once."""
    choices = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()]
        if o.is_sweep_override()
        else [o.input_line or ""]
        for o in overrides
    ]
    for override, values in zip(overrides, choices, strict=True):
        if not values:  # of a pattern
            raise ConfigError(f"{override.input_line}: no such option")
    if not choices:
        yield []
    for row in zip_longest(*choices):
        yield [value or options[0] for value, options in zip(row, choices, strict=True)]


def seedless(overrides: Sequence[str]) -> tuple[list[str], int | None]:
    """Overrides without the one that is a seed, and the seed.

    What differs in nothing else need not be composed again, for Hydra takes a fifth of a second.
    """
    seeds = [o for o in overrides if re.fullmatch(r"seed=\d+", o)]
    if len(seeds) != 1:
        return list(overrides), None
    return [o for o in overrides if o != seeds[0]], int(seeds[0].removeprefix("seed="))


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


def check_or_exit(command: str) -> None:
    """Checks the command line of `tsdtp COMMAND`; what is wrong with it ends the process."""
    try:
        check_command(command, sys.argv[1:])
    except ConfigError as error:
        exit_with(error, f"tsdtp {command}")


def exit_with(error: Exception, program: str) -> NoReturn:
    """Ends the process with one line and code 2."""
    print(f"{program}: {error}", file=sys.stderr)
    sys.exit(2)
