"""Plans of a few cells, and the records that such cells leave."""

from __future__ import annotations

from hydra import compose, initialize_config_dir

from tsdtp.cli.config import HYDRA_VERSION_BASE, config_dir
from tsdtp.cli.identity import identity_hash, lineage
from tsdtp.cli.plan import make_plan
from tsdtp.provenance import code_state
from tsdtp.results import RunRecord, write_record

NONE = ["pruning=none", "seed=0"]
PRUNED = ["pruning=topk", "pruning.budget=0.6", "model.init_from=unpruned", "seed=0"]
BESIDE = "outputs/runs/synthetic_sentence/tiny_bert"


def plan(*jobs: list[str], more: tuple[str, ...] = ()) -> dict:
    def config(overrides):
        return compose("train", [*overrides, *more], return_hydra_config=True)

    with initialize_config_dir(config_dir(), version_base=HYDRA_VERSION_BASE):
        cells = make_plan(jobs, config)
    return {cell.method: cell for cell in cells}


def finish(cell, date="2026-01-01", **provenance) -> None:
    """Leaves the record that a run of this cell would leave."""
    identity = {"task": "t", "pruning": cell.method, "model": "m", "seed": 0, "budget": None}
    made = {"command": "", "versions": {}, "hardware": {}, "config": cell.settings, **code_state()}
    made |= {"config_hash": identity_hash(cell.settings), "date": date, "seconds": 60.0}
    made |= {**lineage(cell.settings), **provenance}
    identity |= {"run_id": cell.name, "execution": "packed"}
    write_record(cell.folder, RunRecord(identity, made, {"accuracy": 0.5}, {}))
