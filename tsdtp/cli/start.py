"""The finished runs that a training starts from and learns from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from tsdtp.cli.config import ConfigError, task_name
from tsdtp.cli.identity import differing, held_record, learnt_from, other_teachers, start_path
from tsdtp.models.saving import TOKENIZER
from tsdtp.models.weights import WEIGHTS, check_weights
from tsdtp.results import read_record


def check_not_itself(config: DictConfig) -> None:
    """Raises ConfigError for a training that would start from or learn from the run it makes."""
    if Path(config.output_dir).resolve() in [f.resolve() for f in learnt_from(config)]:
        raise ConfigError(
            "the run would start or learn from itself; valid for model.init_from and "
            "teacher.others: other runs (of an unpruned run: null)"
        )


def start_folder(config: DictConfig) -> Path | None:
    """The unpruned run to start from and learn from, or None.

    Raises:
        ConfigError: if it is not there or not finished.
        ValueError: if its weights are damaged.
    """
    folder = start_path(config)
    if folder is None:
        return None
    return _finished(folder, f"model.init_from={config.model.init_from}")


def other_folders(config: DictConfig) -> list[Path]:
    """The unpruned runs that teach beside that one.

    Raises:
        ConfigError: if one is not there or not finished.
        ValueError: if its weights are damaged.
    """
    return [_finished(folder, f"teacher.others={folder}") for folder in other_teachers(config)]


def tell_of_other_rows(config: DictConfig, digests: Mapping[str, str]) -> None:
    """Says which of these runs were made with other rows, as far as their records know.

    Args:
        config: of the run, complete.
        digests: what its files hold, see `TaskData.digests`.
    """
    task = task_name(str(config.task.name), config.task.data.source)
    for folder in learnt_from(config):
        record = held_record(folder)
        if record is None or record.identity["task"] != task:
            continue
        if found := differing(record.provenance.get("data", {}), digests):
            print(f"{folder} was made with other rows ({', '.join(found)})", flush=True)


def _finished(folder: Path, setting: str) -> Path:
    """The folder of a finished run, or of a model of the user's own, whose weights are whole."""
    if not (folder / WEIGHTS).is_file():
        raise ConfigError(f"{setting}: no finished run in {folder} (no {WEIGHTS})")
    if (folder / TOKENIZER).is_dir():  # of a run; a user's model has the files of one beside it
        try:
            read_record(folder)
        except (OSError, ValueError) as error:
            raise ConfigError(f"{setting}: no finished run in {folder} ({error})") from error
    check_weights(folder)
    return folder
