"""Where curves and records go: Weights & Biases, TensorBoard, CSV; opened and closed here alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.csv_logs import ExperimentWriter
from pytorch_lightning.utilities import rank_zero_only

from tsdtp.atomic import write_atomic
from tsdtp.cli.config import ConfigError, instantiate, leaves
from tsdtp.results import RunRecord

WANDB_ID = "wandb_id.txt"
MEASURED = ("quality", "cost", "speed", "memory")


@contextmanager
def open_loggers(config: DictConfig, settings: dict[str, Any]) -> Iterator[list[Logger]]:
    """The config's loggers, told the run's settings; closed as failed where the block fails.

    Args:
        config: of the run. With a `ckpt_path` of its folder W&B's run and the curves there go on.
        settings: the whole config as plain values.

    Raises:
        ConfigError: W&B cannot be reached or has no key, and is not offline.
    """
    folder = Path(config.output_dir)
    done = _steps_done(config.ckpt_path, folder) if config.logger else None
    loggers = [_build(node, folder, done) for node in (config.logger or {}).values()]
    status = "failed"
    try:
        for logger in loggers:
            if done is not None and isinstance(logger, CSVLogger):
                _go_on(logger, done)
            if done is None and isinstance(logger, TensorBoardLogger):
                _begin_anew(logger)
            _start(logger, settings, folder)
        yield loggers
        status = "success"
    finally:
        _close(loggers, status)


def _steps_done(checkpoint: str | None, folder: Path) -> int | None:
    """Steps of the training that goes on from a checkpoint of the folder's own; None: none does."""
    if not (checkpoint and Path(checkpoint).resolve().is_relative_to(folder.resolve())):
        return None
    from tsdtp.tasks.checkpoints import load_checkpoint

    return load_checkpoint(checkpoint)["global_step"]


def _build(node: DictConfig, folder: Path, done: int | None) -> Logger:
    file = folder / WANDB_ID
    if done is not None and node["_target_"].endswith(".TensorBoardLogger"):
        return instantiate(node, purge_step=done)  # its readers then forget what comes after
    if done is not None and file.is_file() and node["_target_"].endswith(".WandbLogger"):
        return instantiate(node, id=file.read_text().strip())
    return instantiate(node)


@rank_zero_only
def _go_on(logger: CSVLogger, done: int) -> None:
    """Keeps the rows up to the checkpoint; Lightning deletes all that it finds.

    It writes the file anew where a column is added: a kill may leave it torn, and no curve is worth
    a training that cannot go on.
    """
    import pandas as pd

    path = Path(logger.log_dir, ExperimentWriter.NAME_METRICS_FILE)
    if not path.is_file():
        return
    try:
        rows: Any = pd.read_csv(path, dtype=str, on_bad_lines="skip")
        steps: Any = pd.to_numeric(rows["step"], errors="coerce")
    except (ValueError, KeyError) as error:
        print(f"{path}: cannot be read ({error}); the curves begin anew", flush=True)
        return
    kept = rows[(steps < done) & ~rows.filter(like="record/").notna().any(axis=1)]
    logger.experiment.metrics_keys = list(kept)
    write_atomic(path, kept.to_csv(index=False))


@rank_zero_only
def _begin_anew(logger: TensorBoardLogger) -> None:
    """Deletes the curves of an earlier run, which would be drawn as a part of this one's."""
    for path in Path(logger.log_dir).glob("events.out.tfevents.*"):
        path.unlink()


@rank_zero_only
def _start(logger: Logger, settings: dict[str, Any], folder: Path) -> None:
    if not isinstance(logger, WandbLogger):
        logger.log_hyperparams(settings)
        return
    import wandb

    try:
        logger.log_hyperparams(settings)
    except wandb.Error as error:
        offline = "logger.wandb.offline=true writes for a later `wandb sync`"
        raise ConfigError(f"Weights & Biases: {error}; {offline}".replace("\n", " ")) from error
    write_atomic(folder / WANDB_ID, f"{logger.experiment.id}\n")


@rank_zero_only
def _close(loggers: list[Logger], status: str) -> None:
    try:
        for logger in loggers:
            logger.finalize(status)
    finally:
        if any(isinstance(logger, WandbLogger) for logger in loggers):
            import wandb

            # Lightning leaves it open: the next run in this process would log into it.
            wandb.finish(exit_code=int(status != "success"))


@rank_zero_only
def log_record(loggers: list[Logger], record: RunRecord, path: Path, step: int) -> None:
    """Gives every logger the record's numbers as `record/...`, and W&B the record itself.

    Args:
        loggers: as `open_loggers` gives them.
        record: of the run.
        path: where it lies.
        step: at which the training ended.
    """
    scalars = record_scalars(record)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            run = logger.experiment
            run.summary.update(scalars)
            # Not as metrics.json: reports find records by that name, at any depth.
            copy = write_atomic(Path(run.dir).absolute() / "record.json", path.read_bytes())
            run.save(copy, base_path=copy.parent, policy="end")
        else:
            logger.log_metrics(scalars, step)


def record_scalars(record: RunRecord) -> dict[str, float]:
    """The measured numbers of a record by path: `record/cost/tokens_kept/layer0`."""
    sections = {name: getattr(record, name) for name in MEASURED}
    return {
        f"record/{name}": value
        for name, value in leaves(sections, "/", items="layer")  # its lists are per layer
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
