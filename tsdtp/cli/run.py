"""One cell from its config to its record: train, calibrate, evaluate, benchmark, write."""

from __future__ import annotations

import logging
import os
import shlex
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.utilities import rank_zero_only

from tsdtp.benchmark.environment import environment
from tsdtp.cli import measure
from tsdtp.cli.build import Cell
from tsdtp.cli.cells import build_cell
from tsdtp.cli.checks.training import check_training
from tsdtp.cli.checks.values import check_filled
from tsdtp.cli.config import plain
from tsdtp.cli.folder import exclusive, finished, put_aside
from tsdtp.cli.identity import Settings, cell_identity, identity_hash, lineage
from tsdtp.cli.loggers import log_record, open_loggers
from tsdtp.cli.resume import earlier_parts, mark_checkpoints, resume_path
from tsdtp.cli.start import check_not_itself, tell_of_other_rows
from tsdtp.cli.threads import own_threads, use_threads
from tsdtp.cli.training import train
from tsdtp.jobs.pool import BEGUN, SLOTS
from tsdtp.jobs.progress import enter_stage
from tsdtp.models import PrunedModel
from tsdtp.models.saving import TOKENIZER, save_model
from tsdtp.provenance import code_state, now, with_own
from tsdtp.results import RunRecord, write_record

_KNOWN_WARNINGS = (
    ".*does not have many workers.*",  # the data is tokenised already
    ".*number of training batches.*smaller than the logging interval.*",
    ".*directory.*exists and is not empty.*",  # overwrite=true asked for it
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
    check_training(config)
    config.output_dir = os.path.relpath(config.output_dir)
    check_not_itself(config)
    settings = plain(config)
    if done := finished(settings):
        return done
    config.ckpt_path = resume_path(config)
    # Of several processes that train together the first one holds the folder.
    rank = getattr(rank_zero_only, "rank", 0)
    with own_threads(), nullcontext() if rank else exclusive(Path(config.output_dir)):
        return _run(config, settings, method, overrides)


def _run(config: DictConfig, settings: Settings, method: str, overrides: list[str]) -> RunRecord:
    begun, startup = start_and_elapsed()
    code = with_own(code_state(), settings)  # what runs, whatever is done to the files meanwhile
    pl.seed_everything(config.seed, workers=True, verbose=False)
    use_threads(config.hardware.threads)
    cell, origin, own_hash = build_cell(config), lineage(settings), identity_hash(settings)
    cell.check_answers()
    if config.benchmark.enabled:
        cell.check_timed()
    tell_of_other_rows(config, cell.data.digests)
    command, earlier = shlex.join(["tsdtp", "train", *overrides]), earlier_parts(config.ckpt_path)
    mark = mark_checkpoints(config, cell.data.digests, earlier, measured_by(command, code), begun)
    with open_loggers(config, {**settings, "method": method}) as loggers:
        model, steps = train(cell, loggers, own_hash, mark)
        measured = measure_and_save(cell, model)
        record = RunRecord(
            identity=identity(config, method),
            provenance={
                **provenance(command, code, settings, method, begun, startup),
                **origin,
                **({"data": cell.data.digests} if cell.data.digests else {}),
                **({"earlier": earlier} if earlier else {}),
            },
            **measured,
        )
        log_record(loggers, record, write_record(config.output_dir, record), steps)
    return record


def start_and_elapsed() -> tuple[float, float]:
    """When this run began, and the seconds since; a launcher counts imports as well."""
    begun = float(os.environ.get(BEGUN, time.time()))
    return begun, time.time() - begun


def measured_by(command: str, code: dict[str, Any]) -> dict[str, Any]:
    """What made a figure: the command, the code as it was then, versions, hardware, and when."""
    return {"command": command, **code, **environment(), "date": now()}


def provenance(
    command: str,
    code: dict[str, Any],
    settings: Settings,
    method: str,
    begun: float,
    startup: float,
) -> dict[str, Any]:
    """The `provenance` section of the record but for what it comes from.

    Args:
        command: that was given.
        code: its `code_state` when it began.
        settings: the resolved config.
        method: name of the pruning config.
        begun: when, as `time.time` says.
        startup: seconds before the config was read.
    """
    return {
        **measured_by(command, code),
        "seconds": round(time.time() - begun, 1),
        "startup_seconds": round(startup, 1),
        "slots": int(os.environ.get(SLOTS, "1")),
        "config": {**settings, "method": method},
        "config_hash": identity_hash(settings),
    }


def measure_and_save(cell: Cell, model: PrunedModel) -> dict:
    """Calibrates a trained model, saves it, and gives the measured sections of its record."""
    folder = Path(cell.config.output_dir)
    enter_stage(folder, "evaluation")
    evaluated = measure.as_measured(model, cell.config, cell.device)
    spent = measure.fit_budget(evaluated, cell)
    model.pruner.strictness.copy_(evaluated.pruner.strictness)
    put_aside(folder)
    save_model(model, folder)
    cell.tokenizer.save_pretrained(folder / TOKENIZER)
    summary = measure.evaluate(evaluated, cell, folder)
    summary["cost"]["budget_spent_train"] = spent
    enter_stage(folder, "benchmark")
    speed, memory = timed(evaluated.to(cell.device), cell)
    return {**summary, "speed": speed, "memory": memory}


def timed(model: PrunedModel, cell: Cell) -> tuple[dict | None, dict | None]:
    """The `speed` and `memory` sections of its record.

    Raises:
        ConfigError: where the benchmark fails, with how to do without.
    """
    advice = (
        "; with benchmark.enabled=false the record is written without it, and with ckpt_path=last "
        "as well nothing is trained again"
    )
    with measure.benchmarking(advice):
        return measure.benchmark(model, cell)


def identity(config: DictConfig, method: str) -> dict:
    """The `identity` section of the record."""
    return {
        **cell_identity(config, method),
        "run_id": config.run_id,
        "execution": config.model.execution or "packed",
    }


def quiet_libraries() -> None:
    """Leaves warnings that a user can act on; progress and advertising go."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for text in _KNOWN_WARNINGS:
        warnings.filterwarnings("ignore", text)
    import datasets

    datasets.disable_progress_bars()
