"""Lightning callbacks: the budget's schedule and the plain progress line."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_only
from torch.distributed.fsdp import FullyShardedDataParallel

from tsdtp.jobs.progress import Progress, write_progress
from tsdtp.models import PrunedModel, calibrate
from tsdtp.models.texts import inputs_of
from tsdtp.pruning import TokenPruner


class BudgetSchedule(pl.Callback):
    """Brings the FLOPs spent from everything down to the pruner's budget while it trains.

    The threshold is calibrated on training batches: up to `updates` times during training, to a
    budget that stays at 1 for the first `warmup` of the steps (while a task attention learns what
    matters) and falls linearly to the pruner's within the next `ramp`; at the steps where that
    fall begins and ends, and where gates become hard; and once more when training has ended. What
    is calibrated is the decision without gates: those that draw keep other tokens.

    Args:
        batches: training batches that every update sees.
        warmup: fraction of the steps without pruning.
        ramp: fraction of the steps over which the budget falls.
        updates: calibrations during training at most, evenly spaced. Few will do for what needs no
            ramp; what learns through gates learns at the budget that the last one has set.
    """

    def __init__(
        self,
        batches: Iterable[dict],
        warmup: float = 0.1,
        ramp: float = 0.4,
        updates: int = 20,
    ) -> None:
        self.batches = list(batches)
        self.warmup, self.ramp, self.updates = warmup, ramp, updates
        self._looked_at = -1  # the step last seen: of batches that accumulate several are of one

    def on_train_start(self, trainer, pl_module) -> None:
        """Forgets another training."""
        self._looked_at = -1

    def budget_at(self, progress: float, final: float) -> float:
        """The budget when this fraction of the training steps is done."""
        if self.ramp <= 0:
            return final if progress >= self.warmup else 1.0
        done = min(max((progress - self.warmup) / self.ramp, 0), 1)
        return 1 - done * (1 - final)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        """Calibrates when an update is due."""
        pruner, step = _model(pl_module).pruner, trainer.global_step
        if step == self._looked_at:
            return
        self._looked_at = step
        total = int(trainer.estimated_stepping_batches)
        if pruner.budget is not None and self._due(step, total, pruner):
            budget = self.budget_at(step / total if pruner.ramps else 1.0, pruner.budget)
            self._calibrate(pl_module, budget)

    def _due(self, step: int, total: int, pruner: TokenPruner) -> bool:
        turns = (self.warmup, self.warmup + self.ramp, pruner.soft_until) if pruner.ramps else ()
        every = math.ceil(total / self.updates)
        return step % every == 0 or step in [_step(progress, total) for progress in turns]

    def on_train_end(self, trainer, pl_module) -> None:
        """For the last weights, whoever measures them."""
        final = _model(pl_module).pruner.budget
        if final is not None:
            self._calibrate(pl_module, final)

    def _calibrate(self, pl_module, budget: float) -> None:
        moved = [inputs_of(batch, pl_module.device) for batch in self.batches]
        strategy = pl_module.trainer.strategy
        whole = FullyShardedDataParallel.summon_full_params(strategy.model, writeback=False)
        with whole, strategy.precision_plugin.forward_context():
            calibrate(_model(pl_module), moved, budget)
        strictness = _model(pl_module).pruner.strictness  # all processes prune by the first one's
        strictness.copy_(strategy.broadcast(strictness))


def _step(progress: float, total: int) -> int:
    """The first step at which so much of the training is done; 0.1 + 0.4 is a little too much."""
    return math.ceil(progress * total - 1e-9)


def _model(pl_module) -> PrunedModel:
    return pl_module.model


def _epochs(trainer) -> int:
    """0 where only the steps are limited, for which Lightning has -1."""
    return max(trainer.max_epochs or 0, 0)


class ReportProgress(pl.Callback):
    """Tells whoever started this run how far it is.

    Args:
        folder: of the run.
        every: seconds between two reports, at least.
    """

    def __init__(self, folder: str | Path, every: float = 2.0) -> None:
        self.folder, self.every = Path(folder), every
        self.last, self.history = 0.0, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        """Reports now and then."""
        if time.monotonic() - self.last >= self.every:
            self._report(trainer, trainer.current_epoch)

    def on_validation_end(self, trainer, pl_module) -> None:
        """Reports the figure of the epoch."""
        figure = f"val/{pl_module.metric}"
        if not trainer.sanity_checking and figure in trainer.callback_metrics:
            self.history.append(float(trainer.callback_metrics[figure]))
            self._report(trainer, trainer.current_epoch + 1)

    def _report(self, trainer, epoch: int) -> None:
        if not trainer.is_global_zero:
            return
        self.last = time.monotonic()
        steps = trainer.estimated_stepping_batches
        progress = Progress(
            stage="training",
            epoch=epoch,
            epochs=_epochs(trainer),
            fraction=min(trainer.global_step / steps, 1.0),
            metric=self.history[-1] if self.history else None,
            history=tuple(self.history),
        )
        write_progress(self.folder, progress)


class EpochLine(pl.Callback):
    """One line per validation, for logs and pipes where a progress bar cannot be read."""

    def on_fit_start(self, trainer, pl_module) -> None:
        """Starts the clock."""
        self.start = time.monotonic()

    @rank_zero_only
    def on_validation_end(self, trainer, pl_module) -> None:
        """Prints epoch, the task's figure, FLOPs and elapsed seconds."""
        metrics, name = trainer.callback_metrics, pl_module.metric
        if trainer.sanity_checking or f"val/{name}" not in metrics:
            return
        of = f"/{_epochs(trainer)}" if _epochs(trainer) else ""
        print(
            f"epoch {trainer.current_epoch + 1}{of}"
            f"  {name} {float(metrics[f'val/{name}']):.4f}"
            f"  FLOPs {float(metrics['val/flops_ratio']):.3f} of the plain encoder"
            f"  {time.monotonic() - self.start:.0f} s",
            flush=True,
        )
