"""The finished runs that a training starts from and learns from."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from tsdtp.cli.config import ConfigError
from tsdtp.cli.identity import other_teachers, start_path
from tsdtp.models.loading import check_weights
from tsdtp.models.saving import TOKENIZER, WEIGHTS
from tsdtp.results import read_record


def start_folder(config: DictConfig) -> Path | None:
    """The unpruned run to start from and learn from, or None.

    Raises:
        ConfigError: if it is the run itself, not there or not finished.
        ValueError: if its weights are damaged.
    """
    folder = start_path(config)
    if folder is None:
        return None
    return _finished(folder, f"model.init_from={config.model.init_from}", config.output_dir)


def other_folders(config: DictConfig) -> list[Path]:
    """The unpruned runs that teach beside that one.

    Raises:
        ConfigError: if one is the run itself, not there or not finished.
        ValueError: if its weights are damaged.
    """
    own = config.output_dir
    return [_finished(folder, f"teacher.others={folder}", own) for folder in other_teachers(config)]


def _finished(folder: Path, setting: str, own: str) -> Path:
    """The folder of a finished run, or of a model of the user's own, whose weights are whole."""
    if folder.resolve() == Path(own).resolve():
        raise ConfigError(
            f"{setting}: the run would start or learn from itself; valid are other runs, and of an "
            "unpruned run null"
        )
    if not (folder / WEIGHTS).is_file():
        raise ConfigError(f"{setting}: no finished run in {folder} (no {WEIGHTS})")
    if (folder / TOKENIZER).is_dir():  # of a run; a user's model has the files of one beside it
        try:
            read_record(folder)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{setting}: no finished run in {folder} ({error})") from error
    check_weights(folder)
    return folder
