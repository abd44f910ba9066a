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
        config: of the run. With a `ckpt_path` W&B's run and CSV's rows of the same folder go on.
        settings: the whole config as plain values.

    Raises:
        ConfigError: W&B cannot be reached or has no key, and is not offline.
    """
    folder = Path(config.output_dir)
    loggers = [_build(node, folder, config.ckpt_path) for node in (config.logger or {}).values()]
    status = "failed"
    try:
        for logger in loggers:
            if config.ckpt_path and isinstance(logger, CSVLogger):
                _go_on(logger, Path(config.ckpt_path), folder)
            if not config.ckpt_path and isinstance(logger, TensorBoardLogger):
                _begin_anew(logger)
            _start(logger, settings, folder)
        yield loggers
        status = "success"
    finally:
        _close(loggers, status)


def _build(node: DictConfig, folder: Path, resumed: str | None) -> Logger:
    file = folder / WANDB_ID
    if resumed and file.is_file() and node["_target_"].endswith(".WandbLogger"):
        return instantiate(node, id=file.read_text().strip())
    return instantiate(node)


@rank_zero_only
def _go_on(logger: CSVLogger, checkpoint: Path, folder: Path) -> None:
    """Keeps the rows up to the run's own checkpoint; Lightning deletes all that it finds."""
    import pandas as pd

    from tsdtp.tasks.checkpoints import load_checkpoint

    path = Path(logger.log_dir, ExperimentWriter.NAME_METRICS_FILE)
    if not (path.is_file() and checkpoint.resolve().is_relative_to(folder.resolve())):
        return
    rows: Any = pd.read_csv(path, dtype=str)
    done = load_checkpoint(checkpoint)["global_step"]
    old_record = rows.filter(like="record/").notna().any(axis=1)
    kept = rows[(rows["step"].astype(int) < done) & ~old_record]
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
def log_record(loggers: list[Logger], record: RunRecord, path: Path) -> None:
    """Gives every logger the record's numbers as `record/...`, and W&B the record itself.

    Args:
        loggers: as `open_loggers` gives them.
        record: of the run.
        path: where it lies.
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
            logger.log_metrics(scalars)


def record_scalars(record: RunRecord) -> dict[str, float]:
    """The measured numbers of a record by path: `record/cost/tokens_kept/layer0`."""
    sections = {name: getattr(record, name) for name in MEASURED}
    return {
        f"record/{name}": value
        for name, value in leaves(sections, "/", items="layer")  # its lists are per layer
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
