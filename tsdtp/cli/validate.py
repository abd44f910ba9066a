"""`tsdtp validate`: whether every config composes and every key fits; builds and runs nothing."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from tsdtp.cli.checks.composing import MissingExtraError, composed, first_line, sharing
from tsdtp.cli.checks.keys import key_faults, target_faults, truth_faults
from tsdtp.cli.config import HYDRA_VERSION_BASE, ConfigError, config_dir
from tsdtp.cli.presets import user_folder
from tsdtp.cli.sweep import command_of, expand, load_sweep
from tsdtp.cli.tuning.search import Search
from tsdtp.cli.tuning.settings import load_settings

_COMMANDS = ("train", "bench")  # whose configs the groups fill


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
    """Composes every option, every experiment, the cells of every sweep and search, and eval.

    Args:
        user: folder of the user's own configs, checked beside ours.
    """
    verdict, own = Verdict(), user_folder(user)
    # Before Hydra is initialised here: a search does so itself.
    listed = [(name, *_jobs(name, path)) for name, path in _files(user)]
    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        verdict.judge("eval", _faults("eval", [[*own, "run=somewhere"]]))
        # What every config of a command shares, and the keys that it may have.
        known = {command: verdict.judge(command, _faults(command, [own])) for command in _COMMANDS}
        defaults = {c: None if known[c] else composed(c, own) for c in _COMMANDS}
        for name, command, jobs in listed:
            lines = [] if isinstance(jobs, str) else [[*own, *job] for job in jobs]
            faults = [jobs] if isinstance(jobs, str) else _faults(command, lines, defaults[command])
            verdict.judge(name, faults, known[command])
    return verdict


def _files(user: str | Path | None) -> Iterator[tuple[str, Path]]:
    """Every config of a group, by the words that choose it."""
    for folder in map(Path, filter(None, (config_dir(), user))):
        for path in sorted(folder.glob("*/**/*.yaml")):
            yield f"{path.parent.relative_to(folder).as_posix()}={path.stem}", path


def _jobs(name: str, path: Path) -> tuple[str, list[list[str]] | str]:
    """Command and overrides of the runs that a config makes, or what is wrong with it."""
    try:
        if name.startswith("sweep="):
            sweep = load_sweep(str(path))
            return command_of(sweep), expand(sweep, ["seed=0"])  # seeds differ in nothing else
        if name.startswith("hparams="):
            search = Search(load_settings([f"hparams={path}"]), [])  # checks its space as well
            return "train", [search.start, search.trial]
    except ConfigError as error:
        return "train", str(error)
    except (YAMLError, OmegaConfBaseException, TypeError, LookupError, AttributeError) as error:
        return "train", f"not in the form of the others there: {first_line(error)}"
    return "train", [[name]]


def _faults(
    config_name: str, jobs: Iterable[list[str]], defaults: DictConfig | None = None
) -> Iterator[str]:
    """Faults of the configs that these overrides make, and two that would share a folder."""
    folders, compose = set(), sharing(lambda job: composed(config_name, job))
    for job in jobs:
        try:
            config = compose(job)
            folder = _folder(config)
        except MissingExtraError:
            raise
        except ConfigError as error:
            yield str(error)
            continue
        yield from target_faults(config)
        if defaults is not None:
            yield from key_faults(config, defaults)
            yield from truth_faults(config, defaults)
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
