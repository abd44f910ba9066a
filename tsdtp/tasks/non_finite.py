"""Training stops where the loss is no number, and leaves what is needed to see why."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from torch import Tensor

from tsdtp.tasks.checkpoints import save_atomic

NAN_BATCH = "nan_batch.pt"


class NonFiniteLossError(ValueError):
    """The training loss is NaN or infinite."""


class StopAtNonFiniteLoss(pl.Callback):
    """Saves the batch behind a loss that is NaN or infinite, before the weights take a step by it.

    It is the batch as it was loaded: what `teacher.noise` altered in it is not kept. Of several
    processes the one whose loss it is saves its share of the batch, and all of them stop.

    The file holds `batch` (its tensors, on the CPU), `loss`, `step`, `epoch` and `config_hash`, and
    loads by `torch.load(path, weights_only=True)`.

    Args:
        folder: of the run; the file is `nan_batch.pt` in it.
        config_hash: of the run's config.
    """

    def __init__(self, folder: str | Path, config_hash: str) -> None:
        self.path, self.config_hash = Path(folder) / NAN_BATCH, config_hash

    def on_fit_start(self, trainer, pl_module) -> None:
        """Clears what an earlier training of this run left."""
        self.path.unlink(missing_ok=True)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        """Remembers the batch: the next hook sees the loss alone."""
        self.batch = batch

    def on_before_backward(self, trainer, pl_module, loss: Tensor) -> None:
        """Looks at the loss.

        Raises:
            NonFiniteLossError: it is no number; names the file.
        """
        losses = trainer.strategy.all_gather(loss.detach())
        finite = losses.isfinite()
        if finite.all():
            return
        if not loss.isfinite():
            self._save(loss.item(), trainer)
        trainer.strategy.barrier()  # the first process to end ends the others
        raise NonFiniteLossError(
            f"the training loss is {losses[~finite][0].item()} at step {trainer.global_step}; its "
            f"batch lies in {self.path}; a lower optim.lr may help"
        )

    def _save(self, loss: float, trainer: pl.Trainer) -> None:
        where = {"step": trainer.global_step, "epoch": trainer.current_epoch}
        batch = {k: v.cpu() for k, v in self.batch.items() if isinstance(v, Tensor)}
        content = {"batch": batch, "loss": loss, **where, "config_hash": self.config_hash}
        save_atomic(content, self.path)
