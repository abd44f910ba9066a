"""Is a task attention the task's own? Two models of one shape trade pruners, at equal FLOPs.

    python scripts/swap_pruners.py RUN_OF_ONE_TASK RUN_OF_ANOTHER swapped.json

Each model is measured with its own pruner and with the other's, calibrated to the run's budget on
the model's own training data; and on the same inputs the tokens that both keep are compared.
"""

import argparse
import copy
import json
import sys
import tempfile
from pathlib import Path

import torch

from tsdtp.atomic import write_atomic
from tsdtp.cli import measure
from tsdtp.cli.build import Cell
from tsdtp.cli.cells import load_run
from tsdtp.cli.run import measured_by, quiet_libraries
from tsdtp.models import PrunedModel
from tsdtp.models.texts import inputs_of
from tsdtp.provenance import code_state


def measured(cell: Cell, model: PrunedModel) -> dict:
    """Accuracy and FLOPs spent on the evaluation split."""
    with tempfile.TemporaryDirectory() as folder:
        summary = measure.evaluate(model, cell, Path(folder))
    figures = {"accuracy": summary["quality"]["accuracy"], "n": summary["quality"]["n"]}
    return {**figures, "flops_ratio": summary["cost"]["flops_ratio"]}


@torch.inference_mode()
def overlap(cell: Cell, one: PrunedModel, other: PrunedModel, examples: int = 512) -> dict:
    """Of the tokens that either keeps to the end, the part that both keep; special ones apart.

    Beside it what two blind choices of as many tokens would share.
    """
    both = either = first = second = total = 0
    for batch in cell.data.loader(cell.data.reported, 64, limit=examples):
        words = batch["attention_mask"].bool() & ~torch.isin(batch["input_ids"], one.special_ids)
        layers = one.shape.num_layers
        a, b = ((m(**inputs_of(batch)).kept_layers == layers) & words for m in (one, other))
        both, either = both + int((a & b).sum()), either + int((a | b).sum())
        first, second = first + int(a.sum()), second + int(b.sum())
        total += int(words.sum())
    p, q = first / total, second / total
    return {"jaccard": both / either, "by_chance": p * q / (p + q - p * q), "kept": [p, q]}


def main(arguments: list[str] | None = None) -> None:
    """Measures all four pairs of model and pruner."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs=2, metavar="run")
    parser.add_argument("out", type=Path)
    args = parser.parse_args(arguments)
    quiet_libraries()
    code = code_state()
    try:
        loaded = [load_run(folder) for folder in args.runs]
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    found = measured_by(" ".join(["python", *sys.argv]), code)
    pairs = zip(args.runs, loaded, reversed(loaded), strict=True)
    for run, (cell, model), (_, other) in pairs:
        foreign = model.with_pruner(copy.deepcopy(other.pruner))
        foreign.pruner.budget = model.pruner.budget
        measure.fit_budget(foreign, cell)
        found[run] = {
            "own": measured(cell, model),
            "swapped": measured(cell, foreign),
            "overlap": overlap(cell, model, foreign),
        }
    write_atomic(args.out, json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
