"""One cell from its config to its record: train, calibrate, evaluate, benchmark, write."""

from __future__ import annotations

import logging
import os
import shlex
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from tsdtp.benchmark import git_state, now
from tsdtp.benchmark.environment import environment
from tsdtp.cli import measure
from tsdtp.cli.build import Cell
from tsdtp.cli.check import check_filled
from tsdtp.cli.config import ConfigError, plain, task_name
from tsdtp.cli.training import train
from tsdtp.models.loading import TOKENIZER, save_weights
from tsdtp.results import RECORD_NAME, RunRecord, config_hash, read_record, write_record

# What may differ between two runs of the same cell.
_NOT_IDENTITY = ("output_dir", "run_id", "callbacks", "logger", "overwrite", "ckpt_path")

_KNOWN_WARNINGS = (
    ".*does not have many workers.*",  # the data is tokenised already
    ".*number of training batches.*smaller than the logging interval.*",
    ".*Experiment logs directory.*exists and is not empty.*",  # overwrite=true asked for it
    ".*null_placement.*",  # pandas and pyarrow, between themselves
    ".*LeafSpec.*",  # Lightning and torch, between themselves
)


def run(config: DictConfig, method: str, overrides: list[str]) -> RunRecord:
    """Runs a cell and writes its record; a finished one is returned as it is.

    Args:
        config: of the run, complete.
        method: name of the pruning config.
        overrides: of the command line, for the record.

    Raises:
        ConfigError: before weights are loaded, for whatever is wrong with the config.
    """
    quiet_libraries()
    check_filled(config)
    config.output_dir = os.path.relpath(config.output_dir)
    settings = plain(config)
    identity_hash = config_hash({k: v for k, v in settings.items() if k not in _NOT_IDENTITY})
    if done := finished(config, identity_hash):
        return done
    pl.seed_everything(config.seed, workers=True, verbose=False)
    if config.hardware.threads:
        torch.set_num_threads(config.hardware.threads)
        os.environ["OMP_NUM_THREADS"] = str(config.hardware.threads)  # or Lightning sets its own
    cell = Cell(config)
    model = train(cell)
    evaluated = measure.as_measured(model, config, cell.device)
    spent = measure.fit_budget(evaluated, cell)
    model.pruner.strictness.copy_(evaluated.pruner.strictness)
    save_weights(model, Path(config.output_dir))
    cell.tokenizer.save_pretrained(Path(config.output_dir) / TOKENIZER)
    summary = measure.evaluate(evaluated, cell)
    summary["cost"]["budget_spent_train"] = spent
    speed, memory = measure.benchmark(evaluated.to(cell.device), cell)
    record = RunRecord(
        identity=identity(config, method),
        provenance={
            "command": shlex.join(["tsdtp", "train", *overrides]),
            **git_state(),
            **environment(),
            "date": now(),
            "config": {**settings, "method": method},
            "config_hash": identity_hash,
        },
        **summary,
        speed=speed,
        memory=memory,
    )
    write_record(config.output_dir, record)
    return record


def identity(config: DictConfig, method: str) -> dict:
    """The `identity` section of the record."""
    return {
        "task": task_name(config.task.name, config.task.data.source),
        "pruning": method,
        "model": config.model.name,
        "seed": config.seed,
        "budget": config.pruning.get("budget"),
        "run_id": config.run_id,
        "execution": config.model.execution or "packed",
    }


def finished(config: DictConfig, identity_hash: str) -> RunRecord | None:
    """The record that already lies in the run's folder, if it is of this very config.

    Raises:
        ConfigError: if another config's record lies there.
    """
    folder = Path(config.output_dir)
    if config.overwrite or not (folder / RECORD_NAME).is_file():
        return None
    record = read_record(folder)
    if record.provenance["config_hash"] != identity_hash:
        raise ConfigError(
            f"{folder} holds a run with other settings; overwrite=true replaces it, "
            "hydra.run.dir=FOLDER goes elsewhere"
        )
    commit = record.provenance["commit"]
    note = "" if commit == git_state()["commit"] else f" at commit {str(commit)[:9]}, not this one"
    print(f"{folder}: done{note}; overwrite=true runs it again", flush=True)
    return record


def quiet_libraries() -> None:
    """Leaves warnings that a user can act on; progress and advertising go."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for text in _KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", text)
    import datasets

    datasets.disable_progress_bars()
