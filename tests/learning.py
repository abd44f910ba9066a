"""A small classifier, batches of which one word decides the label, and the task of learning it."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from tiny import SPECIAL, make_batch, make_model

from tsdtp.models import PrunedClassifier, prune
from tsdtp.tasks.classification import ClassificationTask
from tsdtp.tasks.optim import AdamW

WORD = 50


def examples(batches: int, seed: int) -> list[dict]:
    """Batches whose label is whether WORD is there, and which token decides that."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for i in range(batches):
        batch = make_batch((8, 6) * 8, seed=seed * 1000 + i)
        ids = batch["input_ids"]
        ids[ids == WORD] = 51
        labels = torch.randint(2, (len(ids),), generator=generator)
        ids[labels == 1, 3] = WORD
        made.append({**batch, "labels": labels, "decisive": (ids == WORD).long()})
    return made


def model_of(method: str = "ts_dtp", **arguments) -> PrunedClassifier:
    model = make_model("bert")
    for parameter in model.parameters():
        parameter.data.mul_(0.4 if parameter.ndim > 1 else 1)
    return prune(model, method, special_ids=[SPECIAL], **arguments).train()


def task_of(model: PrunedClassifier, teacher=None, **arguments) -> ClassificationTask:
    return ClassificationTask(
        model, 2, AdamW(lr=3e-3, pruner_lr=1e-2), teacher, mask_id=3, **arguments
    )


def stepping(task: ClassificationTask, step: int = 0) -> ClassificationTask:
    """The task under a stand-in for a trainer, at this step."""
    task.log = lambda *args, **kwargs: None
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}])
    trainer = {"optimizers": [optimizer], "global_step": step, "world_size": 1}
    task.trainer = SimpleNamespace(**trainer, estimated_stepping_batches=1)
    return task


def loss_of(task: ClassificationTask, batch: dict) -> torch.Tensor:
    """The training step without a trainer."""
    return stepping(task).training_step(batch, 0)
