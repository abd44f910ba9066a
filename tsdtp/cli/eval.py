"""`tsdtp eval`: measure a finished run again, on this machine, in any execution."""

from __future__ import annotations

import json
import shlex
import sys
from glob import escape
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tsdtp.cli.checks.command import check_or_exit
from tsdtp.cli.config import HYDRA_VERSION_BASE, ConfigError, config_dir
from tsdtp.cli.usage import end_job, exit_with, wants_help
from tsdtp.results import RunRecord, read_record, write_record


def evaluate(config: DictConfig, command: str, folder: Path) -> RunRecord:
    """Loads a run's weights and measures them with this config's hardware and benchmark.

    Raises:
        FileNotFoundError: if the folder holds no record.
        ConfigError: if the run's data or weights are not there, the record that it is to replace
            would become another cell's, or another process is at work in the folder.
    """
    from tsdtp.cli.folder import copy_aside, exclusive
    from tsdtp.cli.remeasure import remeasure
    from tsdtp.cli.run import quiet_libraries
    from tsdtp.cli.threads import own_threads

    quiet_libraries()
    record = _trained(config.run)
    identity, changes = _identity(record, config)
    with own_threads(), exclusive(folder):
        new = remeasure(record, identity, changes, config, command, folder)
        copy_aside(folder)  # and not away: should the new one not be written, the old one holds
        write_record(folder, new)
    return new


def _trained(run: str) -> RunRecord:
    from tsdtp.models.weights import WEIGHTS

    record = read_record(run)
    if not (Path(run) / WEIGHTS).is_file():
        raise ConfigError(f"run={run}: no trained run (no {WEIGHTS}); valid: one of tsdtp train")
    return record


def _identity(record: RunRecord, config: DictConfig) -> tuple[dict, dict]:
    """The identity of what is measured, and the settings in which it is not as it was trained."""
    if not (config.quality or config.benchmark.enabled):
        raise ConfigError(
            "quality=false benchmark.enabled=false: nothing to measure; valid: one of them true"
        )
    variant, beams = _with_beams(record, config.num_beams)
    task, rows = _on_other_rows(record, config.data)
    identity = {**record.identity, **variant, **task, "execution": config.execution or "packed"}
    if identity != record.identity and (config.in_place or not config.quality):
        setting = "in_place=true" if config.in_place else "quality=false"
        own = record.identity["execution"]
        raise ConfigError(
            f"{setting} would mix the run's record with another's; valid: execution={own} and "
            "num_beams=null and data=null, or in_place=false and quality=true"
        )
    return identity, beams | rows


def _on_other_rows(record: RunRecord, file: str | None) -> tuple[dict, dict]:
    """Which task other rows make of a run's, with tables of its own, and how they are read."""
    if file is None:
        return {}, {}
    from tsdtp.data.files import READERS, suffix_of

    path = Path(str(file))
    if not any(path.parent.glob(f"{escape(path.name)}*")):  # a translator's has a language behind
        raise ConfigError(f"data={file}: no such file")
    name = path.name.removesuffix(".gz")
    name = name.removesuffix(suffix_of(path)) if suffix_of(path) in READERS else name
    place = "_".join(part for part in (path.parent.name, name) if part.strip("."))
    task = f"{record.identity['task']}_on_{place}"
    return {"task": task}, {"task.data.evaluate_file": str(path), "task.data.eval_limit": None}


def _with_beams(record: RunRecord, beams: int | None) -> tuple[dict, dict]:
    """Which variant another number of beams makes of a run, and the setting that says so."""
    if beams is None:
        return {}, {}
    if "generation" not in record.provenance["config"]["task"] or beams < 1:
        raise ConfigError(f"num_beams={beams}: valid is 1 or more, for a run that translates")
    variant = "_".join(filter(None, (record.identity.get("variant"), f"beam{beams}")))
    return {"variant": variant}, {"task.generation.num_beams": beams}


@hydra.main(version_base=HYDRA_VERSION_BASE, config_path=config_dir(), config_name="eval")
def _eval(config: DictConfig) -> None:
    context = HydraConfig.get()
    command = shlex.join(["tsdtp", "eval", *context.overrides.task])
    folder = Path(config.run if config.in_place else context.runtime.output_dir)
    try:
        record = evaluate(config, command, folder)
    except (ValueError, OSError) as error:
        end_job(error, "tsdtp eval")
    sections = ("quality", "cost", "speed", "memory")
    print(json.dumps({name: getattr(record, name) for name in sections}, indent=2))


def main() -> None:
    """Checks the command line, then hands it to Hydra."""
    check_or_exit("eval")
    if not any(a.startswith("run=") for a in sys.argv[1:]) and not wants_help(sys.argv[1:]):
        exit_with(ConfigError("which run? valid: run=FOLDER of a finished run"), "tsdtp eval")
    _eval()


if __name__ == "__main__":
    main()
