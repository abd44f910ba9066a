"""The training of one cell: teaching, then Lightning with the budget's schedule."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from tsdtp.cli import measure
from tsdtp.cli.build import Cell, build_each
from tsdtp.cli.config import ConfigError, instantiate
from tsdtp.jobs.progress import enter_stage
from tsdtp.models import PrunedClassifier
from tsdtp.models.budget import check_reachable
from tsdtp.tasks.callbacks import BudgetSchedule, EpochLine, ReportProgress
from tsdtp.tasks.classification import ClassificationTask
from tsdtp.tasks.teaching import teach


def train(cell: Cell) -> PrunedClassifier:
    """Fits the cell's model; 0 epochs leave it as it starts."""
    config, resume = cell.config, resume_path(cell.config)
    model, teacher = cell.model(), cell.teacher()
    if model.pruner.budget is not None:
        check_reachable(model, measure.training_batches(cell, 256), model.pruner.budget)
    task = ClassificationTask(
        model,
        cell.data.num_labels,
        instantiate(config.optim),
        teacher,
        mask_id=cell.mask_id,
        **config.teacher,
    )
    teach_pruner(cell, model, teacher)
    if config.epochs == 0 or config.max_steps == 0:
        return model
    train_loader = cell.data.loader(
        "train", config.batch_size, shuffle=True, bucketed=config.bucketed, seed=config.seed
    )
    validation = cell.data.loader("validation", config.eval_batch_size, order="sorted")
    task.model.train()  # pretrained models come in evaluation mode, and Lightning keeps it
    with trainer_of(cell) as trainer:
        trainer.fit(task, train_loader, validation, ckpt_path=resume)
    return task.model.cpu()


def teach_pruner(cell: Cell, model: PrunedClassifier, teacher: PrunedClassifier | None) -> None:
    """The stage before training, for methods that learn from a teacher's attributions."""
    settings = dict(cell.config.teaching)
    examples = settings.pop("examples")
    if teacher is None or not model.pruner.needs_target:
        return
    if not examples or not settings["epochs"]:
        return
    enter_stage(cell.config.output_dir, "teaching")
    half = cell.config.hardware.precision.startswith("bf16")
    with torch.autocast(cell.device.type, torch.bfloat16, enabled=half):
        losses = teach(
            model.to(cell.device),
            teacher.to(cell.device),
            measure.training_batches(cell, examples, cell.device),
            mask_id=cell.mask_id,
            steps=cell.config.teacher.attribution_steps,
            seed=cell.config.seed,
            **settings,
        )
    print(f"teaching: auxiliary loss {losses[0]:.3f} to {losses[-1]:.3f}", flush=True)


@contextmanager
def trainer_of(cell: Cell) -> Iterator[pl.Trainer]:
    """The Lightning trainer; loggers are closed, as failed where the run fails."""
    config = cell.config
    on_terminal = sys.stdout.isatty()
    trainer = pl.Trainer(
        accelerator=config.hardware.accelerator,
        devices=config.hardware.devices,
        precision=config.hardware.precision,
        max_epochs=config.epochs,
        max_steps=config.max_steps,
        gradient_clip_val=config.gradient_clip,
        profiler=config.profiler,
        logger=build_each(config.logger) or False,
        callbacks=[
            *build_each(config.callbacks),
            *([] if cell.pruner.budget is None else [budget_schedule(cell)]),
            *([] if on_terminal else [EpochLine()]),
            ReportProgress(config.output_dir),
        ],
        enable_checkpointing="checkpoint" in config.callbacks,
        enable_progress_bar=on_terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=20,
        default_root_dir=config.output_dir,
    )
    failed = True
    try:
        yield trainer
        failed = False
    finally:
        if "wandb" in sys.modules:
            sys.modules["wandb"].finish(exit_code=int(failed))


def budget_schedule(cell: Cell) -> BudgetSchedule:
    """The callback that brings the FLOPs down while training; `fit_budget` has the last word."""
    settings = dict(cell.config.budget_schedule)
    batches = measure.training_batches(cell, settings.pop("examples"))
    settings.pop("final_examples")
    return BudgetSchedule(batches, **settings)


def resume_path(config: DictConfig) -> str | None:
    """The checkpoint to go on from; `last` is the one in the run's own folder.

    Raises:
        ConfigError: if it is not there.
    """
    if config.ckpt_path is None:
        return None
    own = Path(config.output_dir) / "checkpoints" / "last.ckpt"
    path = own if config.ckpt_path == "last" else Path(config.ckpt_path)
    if not path.is_file():
        raise ConfigError(f"ckpt_path={config.ckpt_path}: no such checkpoint ({path})")
    return str(path)
