"""The training of one cell: teaching, then Lightning with the budget's schedule."""

from __future__ import annotations

import copy
import sys
from functools import partial

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import Logger
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.utils.data import DataLoader

from tsdtp.cli import measure
from tsdtp.cli.build import Cell
from tsdtp.cli.config import instantiate
from tsdtp.cli.teaching import teach_pruner, to_be_taught
from tsdtp.cli.trainer import trainer_of
from tsdtp.models import PrunedModel
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
    measure.check_budget(model, cell)
    smoothing = config.task.get("label_smoothing", 0.0)
    settings = {"mask_id": cell.mask_id, "label_smoothing": smoothing, **config.teacher}
    settings["others"] = cell.other_teachers()
    task = cell.task(model, optim, teacher, **settings)
    with trainer_of(cell, loggers, config_hash, mark) as trainer:
        batches = loaders(cell, trainer)
        if to_be_taught(cell):
            # The task passes on what was learnt; a checkpoint has it already.
            if trainer.is_global_zero and config.ckpt_path is None:
                teach_pruner(cell, model, teacher)
            model.pruner.requires_grad_(teacher is None or not config.teaching.freeze)
        if not config.get("warm_start", True):
            cell.restart(model)
        if config.epochs != 0 and config.max_steps != 0:
            model = fit(task, trainer, batches, config.ckpt_path)
    end_other_ranks(trainer)
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


def end_other_ranks(trainer: pl.Trainer) -> None:
    """Ends all processes but the first, which then measures without waiting for anyone."""
    trainer.strategy.barrier()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if not trainer.is_global_zero:
        sys.exit()
