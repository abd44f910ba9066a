"""`tsdtp train`: one run, or with -m a Hydra multirun."""

from __future__ import annotations

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from tsdtp.cli.checks.command import check_or_exit
from tsdtp.cli.checks.values import check_one_process
from tsdtp.cli.config import HYDRA_VERSION_BASE, config_dir
from tsdtp.cli.usage import end_job


@hydra.main(version_base=HYDRA_VERSION_BASE, config_path=config_dir(), config_name="train")
def _train(config: DictConfig) -> float | None:
    from tsdtp.cli.run import run

    context = HydraConfig.get()
    try:
        if context.mode is not None and context.mode.name == "MULTIRUN":
            check_one_process(config.hardware)
        record = run(config, context.runtime.choices["pruning"], list(context.overrides.task))
    except (ValueError, OSError) as error:
        end_job(error, "tsdtp train")
    name = config.task.metric
    figure = record.quality[name]
    error, n = record.quality.get("stderr"), record.quality["n"]
    spread = "" if error is None else f" ± {error:.4f}"
    print(
        f"{record.identity['run_id']}: {name} {figure:.4f}{spread}"
        f" (n = {n}), FLOPs {record.cost['flops_ratio']:.3f} of the plain encoder",
        flush=True,
    )
    return figure


def main() -> None:
    """Checks the command line, then hands it to Hydra."""
    check_or_exit("train")
    _train()


if __name__ == "__main__":
    main()
