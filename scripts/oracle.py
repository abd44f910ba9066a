"""How much could a better choice of tokens win? Keeps what the evaluated text's attributions name.

    python scripts/oracle.py RUN_OF_TS_DTP oracle.json --budgets 0.5 0.4 0.3 --examples 2000

The weights are those of the unpruned run that taught RUN, without any training after pruning.
Where the run has its task attention an oracle has attributions of the very text (not of its label);
blocks, cumulation and threshold are the run's. Beside them stands the task attention that was
taught. Two oracles: the layer conductance that teaches the task attention, and the relevance of
Chefer, Gur and Wolf ("Generic Attention-model Explainability", ICCV 2021, equations 5 and 6): how
much of [CLS] comes from a token, by attention times its gradient, block after block.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from scipy.optimize import root_scalar
from torch import Tensor

from tsdtp.atomic import write_atomic
from tsdtp.cli.build import Cell
from tsdtp.cli.cells import load_run
from tsdtp.cli.identity import start_path
from tsdtp.cli.measure import training_batches
from tsdtp.cli.run import measured_by, quiet_libraries
from tsdtp.models import PrunedModel
from tsdtp.models.attribution import layer_conductance, shares
from tsdtp.models.budget import packed_evaluation
from tsdtp.models.texts import inputs_of
from tsdtp.models.weights import load_weights
from tsdtp.packing import pack
from tsdtp.provenance import code_state
from tsdtp.pruning import TokenState
from tsdtp.pruning.rules import segment_sum
from tsdtp.pruning.ts_dtp import TsDtp
from tsdtp.results import read_record
from tsdtp.tasks.metrics import PruningCost

Batch = dict[str, Tensor]
_ENDS = (-8, 8)  # of the search for a strictness
_TINY = 1e-9  # a share, too, where attributions say nothing of the tokens left


class Oracle(TsDtp):
    """TS-DTP whose task attention is the teacher's attribution of the text at hand."""

    def task(self, state: TokenState) -> Tensor:
        """[T] the attributions of the live tokens, summing to 1 over a sequence."""
        assert state.target is not None
        named = (state.target + _TINY).masked_fill(~state.alive, 0)
        return named / segment_sum(named, state.layout)[state.layout.segments]


def load(folder: str) -> tuple[Cell, PrunedModel]:
    """A finished run of TS-DTP with the weights it started from and the pruner it was taught."""
    cell, model = load_run(folder)
    start = start_path(read_record(folder).provenance["config"])
    if start is not None:
        load_weights(model, start, strict=False)
    return cell, model


def oracle_of(model: PrunedModel) -> PrunedModel:
    """The same weights around a pruner that is told."""
    settings: dict[str, Any] = dict(model.pruner.arguments)
    return model.with_pruner(Oracle(model.pruner.num_layers, model.shape.hidden_size, **settings))


def conductance(model: PrunedModel, cell: Cell, batch: Batch) -> Tensor:
    """[B, S, L] the attributions that teach the task attention."""
    settings = {"mask_id": cell.mask_id, "layers": model.pruner.layers}
    steps = cell.config.teacher.attribution_steps
    return layer_conductance(model.unpruned(), **inputs_of(batch), **settings, steps=steps)


def relevance(model: PrunedModel, cell: Cell, batch: Batch) -> Tensor:
    """[B, S, L] how much of the first token's last state comes from each token after each block.

    Without the sign of the gradient, which would tell the oracle what the model says.
    """
    plain, mask = model.hf_model, batch["attention_mask"].bool()
    plain.set_attn_implementation("eager")  # the only one that returns its probabilities
    with torch.enable_grad():
        out = plain(**inputs_of(batch), output_attentions=True)
        first, second = out.logits.topk(2).values.unbind(1)
        gradients = torch.autograd.grad((first - second).sum(), out.attentions)
    flow = torch.zeros_like(batch["input_ids"], dtype=torch.float32)
    flow[:, 0], flows = 1, []
    for weights, gradient in zip(out.attentions[::-1], gradients[::-1], strict=True):
        flows.insert(0, flow)
        weights = (weights.detach() * gradient).abs().mean(1)
        flow = flow + (weights * flow[:, :, None]).sum(1)
    ids = pack(batch["input_ids"], batch["attention_mask"])
    found = torch.stack(flows, -1)
    found[mask] = shares(found[mask], ids, model.protected(ids))
    return found


ATTRIBUTIONS = {"oracle": conductance, "relevance": relevance}


def attributed(model: PrunedModel, cell: Cell, batches: list[Batch], by: str) -> list[Batch]:
    """The same batches with attributions of the unpruned model."""
    return [{**b, "target": ATTRIBUTIONS[by](model, cell, b)} for b in batches]


def measured(model: PrunedModel, batches: list[Batch], strictness: float) -> dict:
    """Accuracy and FLOPs spent; `target` of a batch is what an oracle reads."""
    model.pruner.strictness.fill_(strictness)
    cost, right = PruningCost(model.shape, model.pruner), 0
    with packed_evaluation(model) as evaluated:
        for batch in batches:
            out = evaluated(**inputs_of(batch), target=batch.get("target"))
            cost.update(out, batch["attention_mask"].bool(), None)
            right += int((out.logits.argmax(-1) == batch["labels"]).sum())
    spent = cost.compute()
    return {"accuracy": right / spent["n"], **spent}


def at_budget(model: PrunedModel, train: list[Batch], test: list[Batch], budget: float) -> dict:
    """What is measured at the strictness that spends the budget on training data."""

    def excess(strictness: float) -> float:
        return measured(model, train, strictness)["flops_ratio"] - budget

    found = root_scalar(excess, method="bisect", bracket=_ENDS, xtol=0.02)
    return measured(model, test, found.root)


def check_reachable(model: PrunedModel, train: list[Batch], budgets: list[float]) -> None:
    """Raises ValueError for a budget that no strictness spends on training data."""
    most, least = (measured(model, train, end)["flops_ratio"] for end in _ENDS)
    if out := [budget for budget in budgets if not least < budget < most]:
        raise ValueError(f"--budgets {out}: valid here are {least:.3f} to {most:.3f}")


def main(arguments: list[str] | None = None) -> None:
    """Measures the oracles and the taught task attention at each budget."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run")
    parser.add_argument("out", type=Path)
    parser.add_argument("--budgets", type=float, nargs="+", default=[0.4])
    parser.add_argument("--examples", type=int, help="of the evaluation split; default: all")
    args = parser.parse_args(arguments)
    quiet_libraries()
    code = code_state()
    try:
        cell, model = load(args.run)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    if not isinstance(model.pruner, TsDtp):
        parser.error(f"{args.run}: valid is a run of pruning=ts_dtp")
    torch.set_num_threads(cell.config.hardware.threads or torch.get_num_threads())
    test = [*cell.data.loader(cell.data.reported, 64, limit=args.examples, order="sorted")]
    train = training_batches(cell, 256)
    oracle = oracle_of(model)
    names = [*ATTRIBUTIONS] if model.read == "first" else ["oracle"]
    known_train = {by: attributed(model, cell, train, by) for by in names}
    try:
        check_reachable(model, train, args.budgets)
        for known in known_train.values():
            check_reachable(oracle, known, args.budgets)
    except ValueError as error:
        parser.error(str(error))
    found = measured_by(" ".join(["python", *sys.argv]), code)
    found["unpruned"] = measured(model.unpruned(), test, 0)
    for budget in args.budgets:
        found[str(budget)] = {"taught": at_budget(model, train, test, budget)}
    for by in names:
        known = attributed(model, cell, test, by)
        for budget in args.budgets:
            found[str(budget)][by] = at_budget(oracle, known_train[by], known, budget)
            write_atomic(args.out, json.dumps(found, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
