"""Evaluation of a trained model: quality, cost, speed and memory, in the record's shape."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import cast

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from tsdtp.benchmark.candidates import candidates, forwards, unpacked
from tsdtp.benchmark.speed import measure
from tsdtp.cli.bench_inputs import task_batches
from tsdtp.cli.build import Cell
from tsdtp.cli.checks.composing import first_line
from tsdtp.cli.config import ConfigError, given
from tsdtp.models import PrunedModel, PrunedSeq2Seq, calibrate
from tsdtp.models.budget import check_reachable
from tsdtp.models.texts import attribution_inputs, inputs_of

_SHORT = 0.02  # of a budget, worth a word


def as_measured(model: PrunedModel, config: DictConfig, device: torch.device):
    """A copy in the hardware's dtype on its device, in evaluation mode."""
    dtype = getattr(torch, config.hardware.dtype)
    return copy.deepcopy(model).to(device=device, dtype=dtype).eval()


def training_batches(
    cell: Cell,
    examples: int,
    device: torch.device | str = "cpu",
    batch_size: int | None = None,
) -> list[dict]:
    """Inputs and labels of a random sample of the training data, for calibration and teaching.

    Args:
        cell: whose data and seed are used.
        examples: of the sample, whatever the batches; fewer where the data have fewer.
        device: to put them on.
        batch_size: examples a batch; default: that of evaluation, for what is only measured.
    """
    loader = cell.data.loader(
        "train",
        min(batch_size or cell.config.eval_batch_size, examples),
        shuffle=True,
        seed=cell.config.seed + 1,
        min_tokens=cell.config.task.get("min_tokens", 0),
    )
    batches = []
    for batch in loader:
        batches.append({k: v[:examples].to(device) for k, v in attribution_inputs(batch).items()})
        examples -= len(batch["input_ids"])
        if examples <= 0:
            break
    return batches


def check_budget(model: PrunedModel, cell: Cell) -> None:
    """Raises ValueError before a training on whose way or at whose end calibrating would."""
    schedule, budget = cell.config.budget_schedule, model.pruner.budget
    if budget is None:
        return
    check_reachable(model, training_batches(cell, schedule.examples), budget)
    last = training_batches(cell, schedule.final_examples)
    check_reachable(model, last, budget, _last_tolerance(budget))


def _last_tolerance(budget: float) -> float:
    """Of the last calibration: nearer than on the way, and for its size where little is saved."""
    return min(0.002, (1 - budget) / 50)


def fit_budget(model: PrunedModel, cell: Cell) -> float | None:
    """Calibrates the threshold on training data; the FLOPs ratio spent there, None if no budget.

    Says so where the model cannot spend as much, and why.
    """
    pruner = model.pruner
    if pruner.budget is None:
        return None
    examples = cell.config.budget_schedule.final_examples
    batches = training_batches(cell, examples, model.device)
    spent = calibrate(model, batches, tolerance=_last_tolerance(pruner.budget))
    if pruner.budget - spent > max(_SHORT, pruner.resolution):
        said = f"{spent:.3f} is the nearest that texts of these lengths allow"
        if float(pruner.strictness) == pruner.keep_all:
            said = (
                f"more than {pruner.depth} blocks spend with every token; {spent:.3f} is spent "
                "and nothing dropped"
            )
        print(f"pruning.budget={pruner.budget}: {said}", flush=True)
    return spent


def evaluate(model: PrunedModel, cell: Cell, folder: Path) -> dict:
    """The `quality` and `cost` sections on the evaluation split; its outputs go to the folder."""
    split = cell.data.reported
    task = cell.final_task(model)
    trainer = pl.Trainer(
        accelerator=cell.config.hardware.accelerator,
        devices=1 if cell.device.type == "cpu" else [cell.device.index],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    loader = cell.data.loader(split, cell.config.eval_batch_size, order="sorted")
    trainer.validate(task, loader, verbose=False)
    task.save_outputs(folder)
    task.summary["quality"]["split"] = cell.data.evaluate_file or cell.data.evaluate_on
    return task.summary


@contextmanager
def benchmarking(advice: str = "") -> Iterator[None]:
    """Says in a line what torch could not measure, for want of memory or a back end say.

    Args:
        advice: what the user can do, after that.

    Raises:
        ConfigError: for a RuntimeError of torch or of a candidate; with HYDRA_FULL_ERROR set that
            itself, as Hydra has it.
    """
    try:
        yield
    except RuntimeError as error:
        if "HYDRA_FULL_ERROR" in os.environ:
            raise
        said = f"the benchmark failed ({first_line(error)}){advice}"
        raise ConfigError(f"{said}; HYDRA_FULL_ERROR=1 shows where") from error


def benchmark(model: PrunedModel, cell: Cell) -> tuple[dict | None, dict | None]:
    """The `speed` and `memory` sections: this model, unpruned packed, plain Hugging Face."""
    settings = cell.config.benchmark
    if not settings.enabled:
        return None, None
    batches = [inputs_of(batch, model.device) for batch in task_batches(cell)]
    how = benchmark_settings(cell.config, model.device)
    speed, memory = measure(**forwards(model), batches=batches, **how, module=model)
    speed["order"] = settings.order
    if cell.writes:
        speed["generation"], memory["generation"] = generation(model, batches, how, cell)
    return speed, memory


def benchmark_settings(config: DictConfig, device: torch.device) -> dict:
    """The settings of `tsdtp.benchmark.measure` that a config gives."""
    return {
        "device": device,
        "dtype": config.hardware.dtype,
        "rounds": config.benchmark.rounds,
        "min_time": config.benchmark.min_time,
        "threads": config.hardware.threads or torch.get_num_threads(),
        "batch_size": config.benchmark.batch_size,
    }


def generation(model: PrunedModel, batches: list[dict], how: dict, cell: Cell) -> tuple[dict, dict]:
    """Speed and memory of writing targets: each candidate the same number of tokens, as forced.

    Args:
        model: the pruned one.
        batches: of sources.
        how: settings of `tsdtp.benchmark.measure`.
        cell: whose settings of generation are used.
    """
    tokens = cell.config.benchmark.new_tokens
    length = {"min_new_tokens": tokens, "max_new_tokens": tokens}
    settings = {"do_sample": False, **given(cell.config.task.generation), **length}
    writers = {
        name: unpacked(partial(cast(PrunedSeq2Seq, each).generate, **settings))
        for name, each in candidates(model).items()
    }
    speed, memory = measure(**writers, batches=batches, **how)
    figures = ("examples_per_second", "latency_ms", "vs_packed", "vs_hf", "spread", "confidence")
    chosen = {name: speed[name] for name in figures}
    chosen["tokens_per_second"] = tokens * speed["examples_per_second"]
    del memory["weights_mib"]
    return {**chosen, "num_beams": settings.get("num_beams", 1), "new_tokens": tokens}, memory
