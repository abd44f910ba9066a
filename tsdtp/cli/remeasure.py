"""A finished run's figures measured anew; what is not measured stays, with where it is from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from tsdtp.atomic import write_atomic
from tsdtp.cli import measure
from tsdtp.cli.build import Cell
from tsdtp.cli.cells import load_run
from tsdtp.cli.config import ConfigError
from tsdtp.cli.identity import differing
from tsdtp.cli.run import measured_by
from tsdtp.cli.threads import use_threads
from tsdtp.models import PrunedModel
from tsdtp.provenance import code_state, with_own
from tsdtp.results import EXAMPLES, PREDICTIONS, REFERENCES, TRANSLATIONS, RunRecord

_OUTPUTS = (PREDICTIONS, EXAMPLES, TRANSLATIONS, REFERENCES)
_MAKER = ("command", "commit", "dirty", "date", "hardware")


def remeasure(
    record: RunRecord, identity: dict, changes: dict, config: DictConfig, command: str, folder: Path
) -> RunRecord:
    """The record with the figures of now; its answers are written beside it.

    Args:
        record: of the run.
        identity: of what is measured.
        changes: settings of the run's cell that are others now.
        config: of `tsdtp eval`.
        command: that was given.
        folder: of the answers.
    """
    use_threads(config.hardware.threads)
    code = with_own(code_state(), record.provenance["config"])
    cell, model = _loaded(record, config, changes)
    _check_rows(record, cell, config)
    if config.quality:
        cell.check_answers()
    if config.benchmark.enabled:
        cell.check_timed()
    model = measure.as_measured(model, cell.config, cell.device)
    old = record if identity == record.identity else None
    # The answers last: if anything fails before, those of the old record are still there.
    timed, timed_before = _timed(model, cell, old)
    judged, judged_before = _judged(model, cell, record, config, folder)
    measured = measured_by(command, code)
    if cell.data.digests:
        measured["data"] = cell.data.digests
    if before := [*judged_before, *timed_before]:
        measured["kept"] = _kept(record, before)
    return RunRecord(
        identity=identity,
        provenance={**record.provenance, "measured": measured},
        **judged,
        **timed,
    )


def _loaded(record: RunRecord, config: DictConfig, changes: dict) -> tuple[Cell, PrunedModel]:
    kept = {key: config[key] for key in ("hardware", "benchmark", "eval_batch_size")}
    changes = {**kept, "model.execution": config.execution, **changes}
    changes["task.data.evaluate_only"] = True
    if config.data_dir is not None:
        source = record.provenance["config"]["task"]["data"]["source"]
        if source != "local":
            raise ConfigError(
                f"data_dir={config.data_dir}: valid for a run of local files; this one's rows come "
                f"from source={source}"
            )
        changes["task.data.local_dir"] = config.data_dir
    try:
        return load_run(config.run, changes)
    except FileNotFoundError as error:  # what follows its first words is said of a training
        missing = str(error).split(";")[0]
        raise ConfigError(
            f"{missing}; valid: data_dir=FOLDER of the run's data, or data=FILE of others"
        ) from error


def _check_rows(record: RunRecord, cell: Cell, config: DictConfig) -> None:
    """Says which of the files that are measured on hold other rows than the run was made with.

    Raises:
        ConfigError: if figures of theirs are to stand in the run's own record.
    """
    other = ", ".join(differing(record.provenance.get("data", {}), cell.data.digests))
    if other and config.in_place and config.quality:
        raise ConfigError(
            f"in_place=true: {other} than the run was made with; valid: in_place=false, or "
            "data=FILE, a table of its own"
        )
    if other:
        print(f"{other} than the run was made with", flush=True)


def _timed(model: PrunedModel, cell: Cell, old: RunRecord | None) -> tuple[dict, list[str]]:
    """`speed` and `memory`, and which of them are the old record's."""
    if old is None or old.speed is None or cell.config.benchmark.enabled:
        with measure.benchmarking():
            speed, memory = measure.benchmark(model.to(cell.device), cell)
        return {"speed": speed, "memory": memory}, []
    return {"speed": old.speed, "memory": old.memory}, ["speed", "memory"]


def _judged(
    model: PrunedModel, cell: Cell, record: RunRecord, config: DictConfig, folder: Path
) -> tuple[dict, list[str]]:
    """`quality` and `cost`, and which of them are the record's, whose answers come along."""
    if not config.quality:
        for path in (Path(config.run) / name for name in _OUTPUTS):
            if path.is_file() and path.parent.resolve() != folder.resolve():
                write_atomic(folder / path.name, path.read_bytes())
        return {"quality": record.quality, "cost": record.cost}, ["quality", "cost"]
    summary = measure.evaluate(model, cell, folder)
    summary["cost"]["budget_spent_train"] = record.cost.get("budget_spent_train")
    return summary, []


def _kept(record: RunRecord, sections: list[str]) -> dict[str, Any]:
    """What made the sections that stay as they were."""
    before = record.provenance.get("measured") or record.provenance
    if (before.get("kept") or {}).get("sections") == sections:
        return before["kept"]
    return {"sections": sections, **{key: before[key] for key in _MAKER}}
