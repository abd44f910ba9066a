"""Where a training goes on from: a checkpoint that is of this very training; and who made it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, LambdaCallback

from tsdtp.cli.config import ConfigError, plain
from tsdtp.cli.identity import Settings, changed, lineage, other_rows
from tsdtp.cli.other_code import versions
from tsdtp.provenance import code_state, same_code, with_own
from tsdtp.tasks.checkpoints import damage, last_checkpoints, load_checkpoint

_TRAINING = "training"  # of a checkpoint: what it is of
_PARTS = "parts"  # of a checkpoint: which runs have made it, one after the other
_DATA = "data"  # of a checkpoint: what the files held that it was trained on
# With which a training may go on otherwise: how long, where, and how it is measured.
_FREE = (
    *("epochs", "max_steps", "hardware", "profiler"),
    *("eval_batch_size", "validate_every", "benchmark"),
)
_FREE_OF_TASK = ("generation", "bootstrap")


def mark_checkpoints(
    config: DictConfig,
    data: dict[str, str],
    earlier: list[dict[str, Any]],
    made: dict[str, Any],
    begun: float,
) -> Callback:
    """A callback that has every checkpoint say which training it is of, and which runs made it.

    Args:
        config: of the run.
        data: what its files hold, see `TaskData.digests`.
        earlier: the runs that made the checkpoint it goes on from, see `earlier_parts`.
        made: command, code, hardware and date of this run.
        begun: when, as `time.time` says.
    """
    training = _training(plain(config))

    def mark(trainer: Trainer, task: LightningModule, checkpoint: dict) -> None:
        own = {**made, "seconds": round(time.time() - begun, 1)}
        checkpoint.update({_TRAINING: training, _PARTS: [*earlier, own], _DATA: data})

    return LambdaCallback(on_save_checkpoint=mark)


def earlier_parts(path: str | None) -> list[dict[str, Any]]:
    """The runs that made a checkpoint, the first one first, each up to where the next went on.

    Each has what a record says of the run that made it: command, code, versions, hardware, date
    (when it began) and seconds. None where there is no checkpoint, or one of an older version.
    """
    if path is None:
        return []
    return load_checkpoint(path).get(_PARTS, [])


def _training(settings: Settings) -> dict[str, Any]:
    return {"config": _binding(settings), **lineage(settings)}


def _binding(settings: Settings) -> dict[str, Any]:
    """The settings with which a training goes on as it began, or not at all."""
    kept = {key: value for key, value in settings.items() if key not in _FREE}
    return {**kept, "task": {k: v for k, v in kept["task"].items() if k not in _FREE_OF_TASK}}


def resume_path(config: DictConfig) -> str | None:
    """The checkpoint to go on from; `last` is the one in the run's own folder, or the one before.

    Raises:
        ConfigError: if it is not there, damaged, of another training or other code, and so is the
            one before; or if nothing is to be trained.
    """
    if config.ckpt_path is None:
        return None
    if config.epochs == 0 or config.max_steps == 0:
        raise ConfigError(
            "ckpt_path: nothing is trained, so nothing goes on; valid: epochs above 0"
        )
    named, training = config.ckpt_path, _training(plain(config))
    ends = (config.epochs or -1, config.max_steps or -1)  # -1: no end
    candidates = last_checkpoints(config.output_dir) if named == "last" else [Path(named)]
    problems = []
    for path in candidates:
        problem = _problem(path, training, *ends, config.changed_code)
        if problem is None:
            if problems:
                print(f"ckpt_path={named}: {'; '.join(problems)}; going on from {path}", flush=True)
            return str(path)
        problems.append(f"{path}: {problem}")
    raise ConfigError(f"ckpt_path={named}: {'; '.join(problems)}; ckpt_path=null starts anew")


def _problem(
    path: Path, training: Settings, epochs: int, steps: int, changed_code: str
) -> str | None:
    """Why a training does not go on from a file; None if it does."""
    if not path.is_file():
        return "no such checkpoint"
    if problem := damage(path):
        return problem
    checkpoint = load_checkpoint(path)
    if 0 <= epochs <= checkpoint["epoch"] or 0 <= steps < checkpoint["global_step"]:
        done = f"{checkpoint['epoch'] + 1} epochs, {checkpoint['global_step']} steps"
        return f"after {done}, more than this training is to have"
    whole = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"]
    if not whole and steps != checkpoint["global_step"]:  # with these steps nothing is left to do
        return "saved within an epoch, whose rest would be left out; valid: one of an epoch's end"
    made = checkpoint.get(_TRAINING, training)  # one of an older version does not say
    rows = other_rows(checkpoint.get(_DATA, {}), training["config"])
    if other := changed(_binding(made["config"]), training["config"], rows):
        return f"of a training with other settings or data{other}"
    if any(made[key] != training[key] for key in ("start", "teachers")):
        return "its start or teachers have been run again since"
    parts = checkpoint.get(_PARTS, [])[-1:]  # one of an older version does not say
    code = with_own(code_state(), training["config"])
    if changed_code == "keep" or all(same_code(part, code) for part in parts):
        return None
    return f"made by {versions(parts[0])}: changed_code=keep goes on with it"
