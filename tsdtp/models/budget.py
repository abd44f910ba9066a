"""Meeting a FLOPs budget: find the strictness at which the model spends it on given batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import contextmanager

import torch
from transformers import PreTrainedTokenizerBase

from tsdtp.models.cost import encoder_flops, unpruned_flops
from tsdtp.models.modes import evaluating
from tsdtp.models.pruned import PrunedModel
from tsdtp.models.texts import Batch, Text, batches_of, inputs_of
from tsdtp.pruning import TokenPruner
from tsdtp.pruning.base import is_count, is_number
from tsdtp.pruning.none import NoPruning

_FAR = 1000.0  # no score lies beyond


def spent_ratio(model: PrunedModel, batches: Iterable[Batch]) -> float:
    """FLOPs that the packed model spends on these batches over those of the plain encoder.

    Totals over all examples: a long sequence counts for more than a short one.

    Raises:
        ValueError: there are no batches, or the model answers with what is no number; then its
            scores are none either.
    """
    spent = full = 0.0
    with packed_evaluation(model) as evaluated:
        for batch in batches:
            out = evaluated(**inputs_of(batch))
            if out.logits is not None and out.logits.isnan().any():
                raise ValueError("the model's answers are NaN: valid are finite weights and states")
            lengths = out.lengths
            spent += encoder_flops(model.shape, lengths, model.pruner).sum().item()
            full += unpruned_flops(model.shape, lengths).sum().item()
    if not full:
        raise ValueError("no batches to spend FLOPs on")
    return spent / full


@contextmanager
def packed_evaluation(model: PrunedModel):
    """The model in evaluation mode, packed, without gradients; restores the modes it was in.

    What it gives shares every weight; the model's own execution is never touched, so that threads
    may share a model in evaluation mode.
    """
    with evaluating(model), torch.inference_mode():
        yield model.with_execution("packed")


def calibrate(
    model: PrunedModel,
    data: Iterable[Batch] | Iterable[Text],
    budget: float | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    tolerance: float = 0.005,
    max_steps: int = 16,
) -> float:
    """Sets the pruner's strictness so that the budget is spent on this data.

    The search starts at the present strictness, so it is short where little has changed. Its step
    doubles until the budget is bracketed; then interpolation and bisection alternate.

    Args:
        model: the pruned model; changed in place.
        data: batches, dictionaries with input_ids, attention_mask and, if any, token_type_ids; or
            texts (or pairs of them), with a tokenizer. No labels are needed. Training data:
            thresholds must not see what is evaluated on.
        budget: fraction of the plain encoder's FLOPs; default: the pruner's own.
        tokenizer: of the model, where data are texts.
        tolerance: absolute, on that fraction; or the pruner's `resolution` where that is coarser.
        max_steps: of interpolation and bisection at most.

    Returns:
        The fraction really spent on the batches.

    Raises:
        ValueError: if the model is not pruned, the method has no strictness to set or no budget is
            known; budget, tolerance or max_steps is out of range; there is no data, or there are
            texts without a tokenizer; or the budget lies below what is spent when everything that
            may go goes (says that floor), or the pruner's weights or the model's answers are no
            numbers, or its scores overflow; the strictness stays as it was.
    """
    model = PrunedModel.check(model)
    pruner = model.pruner
    if not (is_number(tolerance) and 0 <= tolerance < 1 and is_count(max_steps, 0)):
        raise ValueError(
            f"tolerance={tolerance!r}, max_steps={max_steps!r}: valid are a fraction in [0, 1) and "
            "0 or more"
        )
    budget = _checked(pruner.budget if budget is None else budget, pruner)
    batches = batches_of(data, tokenizer, model)
    with _strictness_restored(pruner):
        if budget >= 1:
            strictness, spent = pruner.keep_all, _spend(model, batches, pruner.keep_all)
        else:
            strictness, spent = _search(model, batches, budget, tolerance, max_steps)
    pruner.strictness.fill_(strictness)
    pruner.calibrated = True
    return spent


def _checked(budget: float | None, pruner: TokenPruner) -> float:
    """The budget; raises ValueError where the pruner can not be calibrated to it."""
    if pruner.search is None:
        raise ValueError(f"{type(pruner).__name__} has no budget to calibrate to")
    if budget is None:
        raise ValueError(
            f"{type(pruner).__name__} was made without a budget; valid: calibrate(..., budget=0.5)"
        )
    if not all(weight.isfinite().all() for weight in pruner.parameters()):
        raise ValueError(f"{type(pruner).__name__} has weights that are no finite numbers")
    if not (is_number(budget) and 0 < budget <= 1):
        raise ValueError(f"budget={budget!r}: valid is a fraction in (0, 1]")
    return float(budget)


def _search(
    model: PrunedModel, batches: list[Batch], budget: float, tolerance: float, max_steps: int
) -> tuple[float, float]:
    """The strictness that comes nearest to the budget, and what it spends; moves the pruner's."""
    pruner, blocks = model.pruner, model.shape.num_layers
    resolution = pruner.resolution * pruner.num_layers / blocks
    if resolution > tolerance:  # what is near enough may yet be all that can be reached
        _strict_end(model, batches, budget, tolerance)
        tolerance = resolution
    tried = _bracket(model, batches, budget, tolerance)
    low, high = min(tried), max(tried)
    if low == pruner.keep_all and tried[low] <= budget:  # nothing has to go
        whole = model.with_pruner(NoPruning(pruner.num_layers, model.shape.hidden_size))
        if tried[low] < spent_ratio(whole, batches) - tolerance:
            raise ValueError(
                f"{type(pruner).__name__} drops tokens at any threshold: its scores overflow"
            )
        return low, tried[low]
    for step in range(max_steps):
        if min(abs(spent - budget) for spent in tried.values()) <= tolerance:
            break
        halve = step % 2 or tried[low] <= budget
        share = 0.5 if halve else (tried[low] - budget) / (tried[low] - tried[high])
        strictness = low + (high - low) * share
        tried[strictness] = _spend(model, batches, strictness)
        low, high = (strictness, high) if tried[strictness] > budget else (low, strictness)
    strictness = min(tried, key=lambda each: abs(tried[each] - budget))
    return strictness, tried[strictness]


def _bracket(
    model: PrunedModel, batches: list[Batch], budget: float, tolerance: float
) -> dict[float, float]:
    """Two strictnesses with the budget between them, or one that meets it; what is spent at each.

    From the pruner's own, which an earlier calibration may have left nearby, in steps that double.
    """
    pruner = model.pruner
    assert pruner.search is not None
    (first, last), here = pruner.search, float(pruner.strictness)
    known = first < here < last
    here, step = (here, (last - first) / 64) if known else ((first + last) / 2, (last - first) / 8)
    spent = _spend(model, batches, here)
    sign = 1 if spent > budget else -1
    while abs(spent - budget) > tolerance:
        there = here + sign * step
        if not first < there < last:
            end = _strict_end if sign > 0 else _lenient_end
            there, reached = end(model, batches, budget, tolerance)
            return {here: spent, there: reached}
        reached = _spend(model, batches, there)
        if (reached > budget) != (spent > budget):
            return {here: spent, there: reached}
        here, spent, step = there, reached, 2 * step
    return {here: spent}


def check_reachable(
    model: PrunedModel, batches: Iterable[Batch], budget: float, tolerance: float = 0.005
) -> None:
    """Checks that a budget can be met; changes nothing.

    Raises:
        ValueError: if the budget lies below what is spent on these batches when everything that
            may go goes.
    """
    with _strictness_restored(model.pruner):
        _strict_end(model, list(batches), budget, tolerance)


def _strict_end(
    model: PrunedModel, batches: list[Batch], budget: float, tolerance: float
) -> tuple[float, float]:
    """The strict end of the search, and what is spent there; moves the pruner's."""
    pruner = model.pruner
    high, spent = _end(model, batches, 1, lambda spent: spent <= budget + tolerance)
    if spent > budget + tolerance:
        raise ValueError(
            f"pruning.budget={budget}: below what {type(pruner).__name__} can reach"
            f"{f' with layers {pruner.layers}' if pruner.layers else ''}; valid: {spent:.3f} to 1"
        )
    return high, spent


def _lenient_end(
    model: PrunedModel, batches: list[Batch], budget: float, tolerance: float
) -> tuple[float, float]:
    """The lenient end of the search, and what is spent there; moves the pruner's.

    Where all of it is within the budget, the end is to keep all.
    """
    keep_all = model.pruner.keep_all
    if (most := _spend(model, batches, keep_all)) <= budget:
        return keep_all, most
    return _end(model, batches, 0, lambda spent: spent >= budget - tolerance)


def _end(
    model: PrunedModel, batches: list[Batch], which: int, enough: Callable[[float], bool]
) -> tuple[float, float]:
    """The lenient (0) or strict (1) end of the search, and what is spent there; moves the pruner's.

    Where strictness has no end, beyond it if need be: what a pruner learns may drift, for its
    threshold follows.
    """
    pruner = model.pruner
    assert pruner.search is not None
    end = pruner.search[which]
    spent = _spend(model, batches, end)
    while not enough(spent) and math.isinf(pruner.keep_all) and abs(end) < _FAR:
        end *= 4
        spent = _spend(model, batches, end)
    return end, spent


@contextmanager
def _strictness_restored(pruner: TokenPruner):
    """Whatever happens meanwhile."""
    before = pruner.strictness.clone()
    try:
        yield
    finally:
        pruner.strictness.copy_(before)


def _spend(model: PrunedModel, batches: list[Batch], strictness: float) -> float:
    model.pruner.strictness.fill_(strictness)
    return spent_ratio(model, batches)
