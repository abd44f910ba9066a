"""A finished sweep as one run of Weights & Biases."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tsdtp.cli.config import ConfigError
from tsdtp.report.render import load_report


def log_sweep(folder: str | Path, name: str, project: str = "tsdtp", offline: bool = False) -> None:
    """One W&B run for a sweep: its tables, and the plots (PNG files) in its folder.

    `results` holds the unrounded means and deviations of all tables, one row for each method and
    budget; `tables/<task>/<model>` each table as it is shown.

    Args:
        folder: of the sweep; the W&B files go there too.
        name: of the sweep; its runs are in the W&B group of that name, and so is this one.
        project: of W&B.
        offline: whether to write for a later `wandb sync`; if not, `WANDB_MODE` decides.

    Raises:
        FileNotFoundError, ValueError: as `load_report`; then there is no W&B run.
        ConfigError: W&B cannot be reached.
    """
    import wandb

    report = load_report(folder)
    results = pd.concat([table.numbers for table in report.tables], ignore_index=True)
    content = {"results": _table(results)}
    content |= {f"tables/{t.task}/{t.model}": _table(t.cells) for t in report.tables}
    content |= {f"plots/{path.stem}": wandb.Image(str(path)) for path in plots(Path(folder))}
    try:
        with wandb.init(
            project=project,
            name=name,
            group=name,
            job_type="sweep",
            notes=report.heading or None,
            dir=str(folder),
            mode="offline" if offline else None,
        ) as run:
            run.log(content)
    except wandb.Error as error:
        raise ConfigError(
            f"the tables are written and not at Weights & Biases: {' '.join(str(error).split())}; "
            "the same command logs them, with logger.wandb.offline=true for a later `wandb sync`"
        ) from error


def _table(frame: pd.DataFrame):
    import wandb

    return wandb.Table(dataframe=frame.rename(columns=str))


def plots(folder: Path) -> list[Path]:
    """The PNG files under a folder, without those that W&B keeps there itself."""
    found = sorted(folder.rglob("*.png"))
    return [path for path in found if "wandb" not in path.relative_to(folder).parts]
