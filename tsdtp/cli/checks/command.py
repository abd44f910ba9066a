"""Config errors in a line or two with the valid choices, before anything heavy is loaded."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain, zip_longest

from hydra import initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from tsdtp.cli.checks.composing import composed, parse, sharing
from tsdtp.cli.checks.keys import key_faults, target_faults, truth_faults
from tsdtp.cli.checks.ranges import check_ranges
from tsdtp.cli.checks.values import check_devices, check_model_file, check_variant
from tsdtp.cli.config import HYDRA_VERSION_BASE, ConfigError, config_dir
from tsdtp.cli.presets import user_folder
from tsdtp.cli.usage import exit_with


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
        compose = sharing(lambda overrides: composed(config_name, [*own, *overrides]))
        for config in map(compose, variants):
            check_variant(config.get("variant"))
            if "hardware" in config:
                check_devices(config.hardware)
            check_ranges(config)
            if "model" in config:
                check_model_file(config)
            keys = (key_faults(config, defaults), truth_faults(config, defaults))
            for fault in chain(target_faults(config), *keys):
                raise ConfigError(fault)


@cache  # where one process checks many commands
def _defaults(config_name: str, *own: str) -> DictConfig:
    return composed(config_name, [*own])


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


def check_or_exit(command: str) -> None:
    """Checks the command line of `tsdtp COMMAND`; what is wrong with it ends the process."""
    try:
        check_command(command, sys.argv[1:])
    except ConfigError as error:
        exit_with(error, f"tsdtp {command}")
