"""The training of one cell: teaching, then Lightning with the budget's schedule."""

from __future__ import annotations

import copy
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint, LambdaCallback
from pytorch_lightning.loggers import Logger
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.utils.data import DataLoader

from tsdtp.cli import measure
from tsdtp.cli.build import Cell, build_each
from tsdtp.cli.config import instantiate
from tsdtp.cli.teaching import teach_pruner, to_be_taught
from tsdtp.models import PrunedModel
from tsdtp.models.budget import check_reachable
from tsdtp.tasks.callbacks import BudgetSchedule, EpochLine, ReportProgress
from tsdtp.tasks.checkpoints import RotatingCheckpoints, last_checkpoints
from tsdtp.tasks.non_finite import StopAtNonFiniteLoss
from tsdtp.tasks.pruning_task import PruningTask


def train(
    cell: Cell, loggers: list[Logger], config_hash: str, mark: Callback
) -> tuple[PrunedModel, int]:
    """Fits the cell's model, from the checkpoint `ckpt_path` on; 0 epochs leave it as it starts.

    Of several processes only the first one returns: the rest of a run is not theirs.

    Args:
        cell: what is trained.
        loggers: of Lightning.
        config_hash: of its settings, for the batch that a loss that is no number leaves.
        mark: writes into checkpoints what they are of.

    Returns:
        The model, and the steps of its training.

    Raises:
        NonFiniteLossError: the loss is no number; its batch is saved in the run's folder.
    """
    config, optim = cell.config, instantiate(cell.config.optim)
    model, teacher = cell.model(), cell.teacher()
    if model.pruner.budget is not None:
        check_reachable(model, measure.training_batches(cell, 256), model.pruner.budget)
    smoothing = config.task.get("label_smoothing", 0.0)
    settings = {"mask_id": cell.mask_id, "label_smoothing": smoothing, **config.teacher}
    settings["others"] = cell.other_teachers()
    task = cell.task(model, optim, teacher, **settings)
    with trainer_of(cell, loggers, config_hash, mark) as trainer:
        batches = loaders(cell, trainer)
        if to_be_taught(cell):
            if trainer.is_global_zero:  # the task passes on what was learnt
                teach_pruner(cell, model, teacher)
            model.pruner.requires_grad_(teacher is None or not config.teaching.freeze)
        if not config.get("warm_start", True):
            cell.restart(model)
        if config.epochs != 0 and config.max_steps != 0:
            model = fit(task, trainer, batches, config.ckpt_path)
    part(trainer)
    return model, trainer.global_step


def loaders(cell: Cell, trainer: pl.Trainer) -> tuple[DataLoader, DataLoader]:
    """This process's share of the batches to train on, and of those to validate on."""
    config = cell.config
    load = partial(cell.data.loader, rank=trainer.global_rank, world=trainer.world_size)
    return (
        load("train", config.batch_size, True, bucketed=config.bucketed, seed=config.seed),
        load("validation", config.eval_batch_size, order="sorted"),
    )


def fit(
    task: PruningTask,
    trainer: pl.Trainer,
    batches: tuple[DataLoader, DataLoader],
    resume: str | None,
) -> PrunedModel:
    """Trains, and gathers the weights; whole in the first process alone."""
    whole = copy.deepcopy(task.model)  # a strategy may take the task's own apart
    task.model.train()  # pretrained models come in evaluation mode, and Lightning keeps it
    trainer.fit(task, *batches, ckpt_path=resume)
    weights = trainer.strategy.lightning_module_state_dict()
    consume_prefix_in_state_dict_if_present(weights, "model.")
    if trainer.is_global_zero:
        whole.load_state_dict(weights)
        whole.pruner.progress = task.model.pruner.progress
    return whole.cpu()


def part(trainer: pl.Trainer) -> None:
    """Ends all processes but the first, which then measures without waiting for anyone."""
    trainer.strategy.barrier()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if not trainer.is_global_zero:
        sys.exit()


@contextmanager
def trainer_of(
    cell: Cell, loggers: list[Logger], config_hash: str, mark: Callback
) -> Iterator[pl.Trainer]:
    """The Lightning trainer; where the run fails, its other processes end."""
    config, hardware = cell.config, cell.config.hardware
    on_terminal = sys.stdout.isatty()
    named, own = isinstance(hardware.strategy, str), build_each(config.callbacks)
    trainer = pl.Trainer(
        accelerator=hardware.accelerator,
        strategy=hardware.strategy if named else instantiate(hardware.strategy),
        devices=hardware.devices,
        num_nodes=hardware.num_nodes,
        precision=hardware.precision,
        use_distributed_sampler=False,  # it pads; our loaders share batches without
        max_epochs=config.epochs,
        max_steps=config.max_steps,
        gradient_clip_val=config.gradient_clip,
        check_val_every_n_epoch=config.validate_every or 1,
        limit_val_batches=1.0 if config.validate_every else 0,
        profiler=config.profiler,
        logger=loggers,
        plugins=[RotatingCheckpoints()],
        callbacks=[
            *own,
            StopAtNonFiniteLoss(config.output_dir, config_hash),
            *([] if cell.pruner.budget is None else [budget_schedule(cell)]),
            *([] if on_terminal else [EpochLine()]),
            ReportProgress(config.output_dir),
            LambdaCallback(on_train_start=end_when_told),
            mark,
        ],
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in own),
        enable_progress_bar=on_terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=config.log_every_n_steps,
        default_root_dir=config.output_dir,
    )
    failed, on_interrupt = True, signal.getsignal(signal.SIGINT)
    try:
        yield trainer
        failed = False
    finally:
        if in_main_thread():  # Lightning sees to SIGTERM alone
            signal.signal(signal.SIGINT, on_interrupt)
        for process in getattr(trainer.strategy.launcher, "procs", ()) if failed else ():
            process.kill()  # it may wait for this one in vain


def end_when_told(trainer: pl.Trainer, task: pl.LightningModule) -> None:
    """Has SIGTERM and Ctrl-C end this process with the exit code that shells give it, and say so.

    Lightning would end a single process silently, and have several wait for each other.
    """

    checkpoints = last_checkpoints(trainer.default_root_dir)

    def end(number: int, _: object) -> None:
        if trainer.is_global_zero:  # `print` may be at work already
            hint = "it had no checkpoint yet to go on from"
            if any(path.is_file() for path in checkpoints):
                hint = "ckpt_path=last goes on from the last checkpoint"
            os.write(2, f"ended by {signal.Signals(number).name}; {hint}\n".encode())
        sys.exit(128 + number)

    if in_main_thread():
        signal.signal(signal.SIGTERM, end)
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a script's `command &` does
            signal.signal(signal.SIGINT, end)


def in_main_thread() -> bool:
    """Whether this is the thread that may say what becomes of signals."""
    return threading.current_thread() is threading.main_thread()


def budget_schedule(cell: Cell) -> BudgetSchedule:
    """The callback that brings the FLOPs down while training; `fit_budget` has the last word."""
    settings = dict(cell.config.budget_schedule)
    batches = measure.training_batches(cell, settings.pop("examples"))
    settings.pop("final_examples")
    return BudgetSchedule(batches, **settings)
