"""A loss that is no number in one of several processes."""

from __future__ import annotations

from unittest.mock import patch

from pytorch_lightning import Callback


class NanInSecond(Callback):
    """The second process's loss is NaN at one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        """Has this step's loss multiplied by NaN."""
        if trainer.global_rank == 1 and trainer.global_step == self.step:
            real = pl_module._task_loss
            wrong = patch.object(pl_module, "_task_loss", lambda *a: real(*a) * float("nan"))
            wrong.start()
