"""Lightning's trainer of one cell, and the end of all its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, Checkpoint, LambdaCallback
from pytorch_lightning.loggers import Logger

from tsdtp.cli import measure
from tsdtp.cli.build import Cell
from tsdtp.cli.config import instantiate
from tsdtp.cli.signals import ended_by_signal, in_main_thread
from tsdtp.jobs.job import signal_name
from tsdtp.tasks.callbacks import BudgetSchedule, EpochLine, ReportProgress
from tsdtp.tasks.checkpoints import RotatingCheckpoints, last_checkpoints
from tsdtp.tasks.non_finite import StopAtNonFiniteLoss


@contextmanager
def trainer_of(
    cell: Cell, loggers: list[Logger], config_hash: str, mark: Callback
) -> Iterator[pl.Trainer]:
    """The Lightning trainer; where the run fails, its other processes end."""
    config, hardware = cell.config, cell.config.hardware
    on_terminal = sys.stdout.isatty()
    named = isinstance(hardware.strategy, str)
    own = [instantiate(node) for node in (config.callbacks or {}).values()]
    callbacks = [
        *own,
        StopAtNonFiniteLoss(config.output_dir, config_hash),
        *([] if cell.pruner.budget is None else [budget_schedule(cell)]),
        *([] if on_terminal else [EpochLine()]),
        ReportProgress(config.output_dir),
        LambdaCallback(on_train_start=end_when_told),
        LambdaCallback(on_train_start=stay_stopped),
        mark,
    ]
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
        callbacks=callbacks,
        enable_checkpointing=any(isinstance(callback, Checkpoint) for callback in own),
        enable_progress_bar=on_terminal,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=config.log_every_n_steps,
        default_root_dir=config.output_dir,
    )
    with ended_by_signal(), _others_end(trainer):
        yield trainer


@contextmanager
def _others_end(trainer: pl.Trainer) -> Iterator[None]:
    """Ends the other processes of a run that fails; says of a lost connection who ended."""
    failed = True
    try:
        yield
        failed = False
    except RuntimeError as error:  # of a connection, as like as not
        if said := _ended_elsewhere(_others(trainer)):
            raise ChildProcessError(said) from error
        raise
    finally:
        for process in _others(trainer) if failed else ():
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


def stay_stopped(trainer: pl.Trainer, task: pl.LightningModule) -> None:
    """Has a training that had stopped early end at once when it is resumed.

    Its checkpoint brings back the patience that was lost, and not that this was the end.
    """
    stoppers = trainer.early_stopping_callbacks
    if any(each.wait_count >= max(each.patience, 1) for each in stoppers):
        trainer.should_stop = True


def budget_schedule(cell: Cell) -> BudgetSchedule:
    """The callback that brings the FLOPs down while training; `fit_budget` has the last word."""
    settings = dict(cell.config.budget_schedule)
    batches = measure.training_batches(cell, settings.pop("examples"))
    settings.pop("final_examples")
    return BudgetSchedule(batches, **settings)


def _others(trainer: pl.Trainer) -> Sequence[subprocess.Popen]:
    """The processes that train beside this one and were started by it."""
    return getattr(trainer.strategy.launcher, "procs", ())


def _ended_elsewhere(processes: Sequence[subprocess.Popen]) -> str | None:
    """How the first of them ended that failed."""
    for rank, process in enumerate(processes, 1):
        if code := process.poll():
            how = f"with code {code}" if code > 0 else f"by {signal_name(-code)}"
            return (
                f"process {rank} of this training ended {how}, see train_ddp_process_{rank}.log; "
                "ckpt_path=last goes on from a checkpoint, if there is one"
            )
    return None
