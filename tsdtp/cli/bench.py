"""`tsdtp bench`: speed and memory of one cell, trained or not, or with -m of many."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tsdtp.cli.checks.command import check_or_exit
from tsdtp.cli.checks.values import check_filled
from tsdtp.cli.config import HYDRA_VERSION_BASE, config_dir, plain
from tsdtp.cli.usage import end_job
from tsdtp.provenance import code_state, with_own
from tsdtp.results import RunRecord, flops_saved, write_record


def bench(config: DictConfig, method: str, overrides: list[str]) -> RunRecord:
    """Measures a cell and writes its record; a finished one is returned as it is.

    Args:
        config: of the cell, complete.
        method: name of the pruning config.
        overrides: of the command line, for the record.

    Raises:
        ConfigError: before weights are loaded, for whatever is wrong with the config; or for what
            torch could not measure.
    """
    from tsdtp.cli.bench_cell import measure_cell
    from tsdtp.cli.folder import exclusive, finished
    from tsdtp.cli.measure import benchmarking
    from tsdtp.cli.run import identity, provenance, quiet_libraries, start_and_elapsed
    from tsdtp.cli.threads import own_threads, use_threads

    quiet_libraries()
    check_filled(config)
    config.output_dir = os.path.relpath(config.output_dir)
    settings = plain(config)
    if done := finished(settings):
        return done
    begun, startup = start_and_elapsed()
    code = with_own(code_state(), settings)
    with own_threads(), exclusive(Path(config.output_dir)):
        use_threads(config.hardware.threads)
        with benchmarking():
            measured = measure_cell(config)
        command = shlex.join(["tsdtp", "bench", *overrides])
        record = RunRecord(
            identity=identity(config, method),
            provenance=provenance(command, code, settings, method, begun, startup),
            quality={},
            **measured,
        )
        write_record(config.output_dir, record)
    return record


@hydra.main(version_base=HYDRA_VERSION_BASE, config_path=config_dir(), config_name="bench")
def _bench(config: DictConfig) -> float:
    context = HydraConfig.get()
    try:
        record = bench(config, context.runtime.choices["pruning"], list(context.overrides.task))
    except (ValueError, OSError) as error:
        end_job(error, "tsdtp bench")
    print(summary(record), flush=True)
    assert record.speed is not None
    return record.speed["vs_packed"]


def summary(record: RunRecord) -> str:
    """One line for a person."""
    speed, memory = record.speed or {}, record.memory or {}
    p, smaller = 1 - speed["confidence"]["vs_packed"], memory["vs_packed"]
    takes = f"{flops_saved(record):.2f} times the FLOPs"
    if smaller is not None:  # as where nothing was needed beyond weights
        takes += f" and {smaller:.2f} times the memory"
    return (
        f"{record.identity['run_id']}: {speed['latency_ms']:.1f} ms a batch, "
        f"{speed['vs_packed']:.2f} times as fast as unpruned and packed (sign test over the "
        f"rounds: p = {p:.2g}), which takes {takes}; {speed['vs_hf']:.2f} times as fast as "
        f"Hugging Face; at {speed['roofline']['reached']:.0%} of the roofline"
    )


def main() -> None:
    """Checks the command line, then hands it to Hydra."""
    check_or_exit("bench")
    _bench()


if __name__ == "__main__":
    main()
