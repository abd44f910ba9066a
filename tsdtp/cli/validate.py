"""`tsdtp validate`: whether every config composes and every key fits; builds and runs nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tsdtp.cli.check import MissingExtraError, composed, first_line, user_folder
from tsdtp.cli.config import HYDRA_VERSION_BASE, ConfigError, config_dir
from tsdtp.cli.keys import key_faults, target_faults
from tsdtp.cli.sweep import expand


@dataclass
class Verdict:
    """What was found.

    Attributes:
        valid: number of configs without a fault.
        faults: one line each: the config and what is wrong with it.
        left_out: one line for each config that needs a package that is not installed.
    """

    valid: int = 0
    faults: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def judge(self, name: str, faults: Iterable[str], known: Container[str] = ()) -> list[str]:
        """Takes note of a config's faults but those known already, and returns them."""
        try:
            found = [fault for fault in dict.fromkeys(faults) if fault not in known]
        except MissingExtraError as missing:
            self.left_out.append(f"{name}: {missing}")
            return []
        self.faults += [f"{name}: {fault}" for fault in found]
        self.valid += not found
        return found


def validate(user: str | Path | None = None) -> Verdict:
    """Composes every option, every experiment, the cells of every sweep, and eval.

    Args:
        user: folder of the user's own configs, checked beside ours.
    """
    verdict, own = Verdict(), user_folder(user)
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        verdict.judge("eval", _faults("eval", [[*own, "run=somewhere"]]))
        known = verdict.judge("train", _faults("train", [own]))  # these every config shares
        defaults = None if known else composed("train", own)
        for folder in filter(None, (config_dir(), user)):
            for path in sorted(Path(folder).glob("*/**/*.yaml")):
                name = f"{path.parent.relative_to(folder).as_posix()}={path.stem}"
                jobs = _cells(path) if name.startswith("sweep=") else [[name]]
                lines = ([*own, *job] for job in jobs)
                verdict.judge(name, _faults("train", lines, defaults), known)
    return verdict


def _cells(path: Path) -> Iterator[list[str]]:
    try:
        sweep = cast(DictConfig, OmegaConf.load(path))
        yield from expand(sweep, ["seed=0"])  # seeds differ in nothing else
    except (YAMLError, OmegaConfBaseException, ConfigError, TypeError, AttributeError) as error:
        raise ConfigError(f"not a sweep of `common` and `grids`: {first_line(error)}") from error


def _faults(
    config_name: str, jobs: Iterable[list[str]], defaults: DictConfig | None = None
) -> Iterator[str]:
    """Faults of the configs that these overrides make, and two that would share a folder."""
    folders: set[str | None] = set()
    try:
        for job in jobs:
            yield from _faults_of_one(config_name, job, defaults, folders)
    except MissingExtraError:
        raise
    except ConfigError as error:
        yield str(error)


def _faults_of_one(
    config_name: str, job: list[str], defaults: DictConfig | None, folders: set[str | None]
) -> Iterator[str]:
    try:
        config = composed(config_name, job)
        folder = _folder(config)
    except MissingExtraError:
        raise
    except ConfigError as error:
        yield str(error)
        return
    yield from target_faults(config)
    yield from () if defaults is None else key_faults(config, defaults)
    if folder in folders:
        yield f"two cells would be {folder}; give one a variant"
    folders.add(folder)


def _folder(config: DictConfig) -> str | None:
    HydraConfig.instance().set_config(config)  # `${hydra:...}` reads it from there
    try:
        return config.get("run_id")
    except OmegaConfBaseException as error:
        raise ConfigError(first_line(error)) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line for each fault, or how many configs are valid.

    Returns:
        1 with faults, 0 without.
    """
    parser = argparse.ArgumentParser(prog="tsdtp validate", description=__doc__)
    parser.add_argument("--config-dir", "-cd", metavar="DIR", help="configs of your own, too")
    options = parser.parse_args(argv)
    if options.config_dir and not Path(options.config_dir).is_dir():
        parser.error(f"no such folder: {options.config_dir}")
    verdict = validate(options.config_dir)
    for line in [*(f"left out: {line}" for line in verdict.left_out), *verdict.faults]:
        print(line)
    if not verdict.faults:
        print(f"{verdict.valid} configs are valid")
    return int(bool(verdict.faults))


if __name__ == "__main__":
    sys.exit(main())
