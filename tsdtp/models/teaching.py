"""Teaching a task attention what matters, before any token is dropped."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import PreTrainedTokenizerBase

from tsdtp.models.attribution import layer_conductance
from tsdtp.models.modes import evaluating
from tsdtp.models.pruned import PrunedModel
from tsdtp.models.texts import Batch, Text, attribution_inputs, batches_of, inputs_of, mask_id_of
from tsdtp.pruning import TokenPruner, TokenState, find_method, method_names
from tsdtp.pruning.base import check_count


@torch.inference_mode(False)
@torch.enable_grad()
def teach(
    model: PrunedModel,
    data: Iterable[Batch] | Iterable[Text],
    teacher: PrunedModel | None = None,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    mask_id: int | None = None,
    targets: Sequence[Tensor] | None = None,
    epochs: int = 4,
    lr: float = 2e-3,
    steps: int = 3,
    seed: int = 0,
    cache_gib: float = 2.0,
) -> list[float]:
    """Trains the pruner alone, on the auxiliary loss against the teacher's attributions.

    The attributions are computed once; the model is frozen, in evaluation mode, and keeps every
    token, so that each pruning layer learns to rank all of them. What the pruner sees is then the
    same in every epoch, and kept in memory as far as allowed.

    Args:
        model: whose pruner learns; on the batches' device.
        data: batches of training inputs: input_ids, attention_mask, if any token_type_ids, and for
            a translator labels; or texts (or pairs of them), with a tokenizer. A classifier needs
            no labels: it is asked what it says.
        teacher: an unpruned model of the task, on the same device; default: the model itself, all
            blocks of it.
        tokenizer: of the model, where data are texts.
        mask_id: token id of the attributions' baseline; default: the tokenizer's mask token, or
            where it has none its unknown or padding token.
        targets: what `attributions` gave for these batches; default: computed here.
        epochs: passes over the batches.
        lr: highest learning rate; it falls linearly.
        steps: of the attributions, see `layer_conductance`.
        seed: of the order of the batches.
        cache_gib: GiB of hidden states to keep; batches beyond are encoded anew in each epoch.

    Returns:
        Mean auxiliary loss of each epoch. Calibrate afterwards: other scores spend another budget.

    Raises:
        ValueError: for a method that learns nothing from attributions, a frozen pruner, no block
            that prunes or that has attributions, a teacher that is no `PrunedModel` or has another
            number of blocks, a loss that is no finite number, no data, texts without a tokenizer,
            no way to tell the baseline, another number of targets than of batches, or numbers of
            epochs or steps that are none.
    """
    model = PrunedModel.check(model)
    pruner = model.pruner
    _check(model, teacher)
    check_count("epochs", epochs, 0, of="")
    check_count("steps", steps, of="")
    parameters = [p for p in pruner.parameters() if p.requires_grad]
    eps = 1e-4 if model.dtype == torch.float16 else 1e-8  # which is nothing in half precision
    optimizer = torch.optim.AdamW(parameters, lr=lr, eps=eps)
    batches = batches_of(data, tokenizer, model)
    if targets is None:
        mask_id = mask_id_of(tokenizer) if mask_id is None else mask_id
        targets = attributions(model, batches, teacher, mask_id=mask_id, steps=steps)
    if len(targets) != len(batches):
        raise ValueError(f"{len(targets)} targets for {len(batches)} batches; valid: one for each")
    if not any(target.any() for target in targets):
        raise ValueError(
            f"no attributions in blocks {pruner.layers}: what they leave is not read, or the "
            "texts hold special tokens alone; valid: layers before the last, and words"
        )
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, epochs * len(batches))
    optimizer.zero_grad()
    generator = torch.Generator().manual_seed(seed)
    history, seen = [], _Seen(model, batches, targets, cache_gib * 2**30)
    with _frozen_and_whole(model), _without_cache(model.device.type):
        for _ in range(epochs):
            order = torch.randperm(len(batches), generator=generator).tolist()
            losses = [_learn(_loss(pruner, seen.batch(i)), optimizer, schedule) for i in order]
            history.append(sum(losses) / len(batches))
    return history


def _learn(loss: Tensor, optimizer: Optimizer, schedule: LRScheduler) -> float:
    """One step by a loss; what it was."""
    if not loss.isfinite():
        raise ValueError(f"the loss of teaching is {loss.item()}; try float32")
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()  # a training afterwards shall not find any
    schedule.step()
    return loss.item()


def _without_cache(device: str) -> torch.autocast:
    """Autocast as it is, but that it casts weights anew each time.

    What it had cast under `no_grad`, where states are made, has no gradient, and it would keep that
    for all steps.
    """
    dtype, enabled = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
    return torch.autocast(device, dtype, enabled, cache_enabled=False)


def _check(model: PrunedModel, teacher: PrunedModel | None) -> None:
    """Raises ValueError where there is nothing to teach, or nobody who could."""
    pruner = model.pruner
    if pruner.needs_target and not pruner.layers:
        raise ValueError("no block prunes, so there is nothing to teach; valid: 2 blocks or more")
    if not pruner.needs_target:
        valid = ", ".join(name for name in method_names() if find_method(name).needs_target)
        raise ValueError(
            f"{type(pruner).__name__} learns nothing from attributions; valid: {valid}"
        )
    if not pruner.trainable:
        raise ValueError("the pruner is frozen; valid: model.pruner.requires_grad_(True) before")
    if teacher is not None and not isinstance(teacher, PrunedModel):
        valid = "a model of tsdtp.prune(..., 'none')"
        raise ValueError(f"teacher: {type(teacher).__name__}; valid: {valid}")
    here, there = model.shape.num_layers, (teacher or model).shape.num_layers
    if there != here:
        raise ValueError(f"a teacher of {there} blocks; valid: one of {here}, as the model has")
    if model.dtype == torch.float16 and model.device.type == "cpu":
        warnings.warn(
            "teaching in float16 takes a CPU many times as long as in float32; valid: "
            "from_pretrained(..., dtype='float32'), or a GPU",
            stacklevel=5,  # two decorators lie between
        )


def attributions(
    model: PrunedModel,
    batches: Iterable[Batch],
    teacher: PrunedModel | None = None,
    *,
    mask_id: int,
    steps: int = 3,
) -> list[Tensor]:
    """[B, S, L] a batch: the teacher's attributions, in the blocks that the model prunes.

    They depend on the teacher and those blocks alone: one teaching after the other may use them,
    whatever the budget.

    Args:
        model: that is to be taught.
        batches: see `teach`, as for the rest.
        teacher: default: the model itself, unpruned.
        mask_id: token id of the baseline.
        steps: see `layer_conductance`.
    """
    layers, teacher = model.pruner.layers, teacher or model
    with _frozen_and_whole(model), evaluating(teacher):
        teacher = teacher.unpruned()
        return [
            layer_conductance(
                teacher, **attribution_inputs(batch), mask_id=mask_id, layers=layers, steps=steps
            )
            for batch in batches
        ]


class _Seen:
    """What the pruner sees of each batch, remembered while there is room (bytes)."""

    def __init__(
        self, model: PrunedModel, batches: list[Batch], targets: Sequence[Tensor], room: float
    ) -> None:
        self.model, self.batches, self.targets, self.room = model, batches, targets, room
        self.known: dict[int, list[TokenState]] = {}

    def batch(self, i: int) -> list[TokenState]:
        """Of the i-th batch, layer by layer."""
        if i in self.known:
            return self.known[i]
        states = _states(self.model, self.batches[i], self.targets[i])
        if (size := _nbytes(states)) <= self.room:
            self.known[i], self.room = states, self.room - size
        return states


def _states(model: PrunedModel, batch: Batch, target: Tensor) -> list[TokenState]:
    """What the pruner sees of a batch, layer by layer."""
    states: list[TokenState] = []
    hook = model.pruner.register_forward_pre_hook(lambda _, args: states.append(args[0]))
    try:
        with torch.no_grad():
            model(**inputs_of(batch), target=target)
    finally:
        hook.remove()
    return states


def _nbytes(states: list[TokenState]) -> int:
    """What they hold in memory; the layers share a part of it."""
    held = [value for s in states for value in (*vars(s).values(), *vars(s.layout).values())]
    tensors = [value for value in held if isinstance(value, Tensor)]
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def _loss(pruner: TokenPruner, states: list[TokenState]) -> Tensor:
    """Mean auxiliary loss over the layers, each with the memory that the one before leaves."""
    losses, memory = [], None
    for state in states:
        decision = pruner(replace(state, memory=memory))
        memory = decision.memory
        losses += [] if decision.loss is None else [decision.loss]
    return torch.stack(losses).mean()


@contextmanager
def _frozen_and_whole(model: PrunedModel):
    """Only the pruner trains, and nothing is dropped; restores what was before."""
    before = [(p, p.requires_grad) for p in model.parameters()]
    execution, soft_until = model._execution, model.pruner.soft_until
    strictness, calibrated = model.pruner.strictness.clone(), model.pruner.calibrated
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and name.startswith("pruner."))
    with evaluating(model):
        model.pruner.train()
        model.execution = "masked"
        model.pruner.soft_until = math.inf  # of a training, which this is not a part of
        model.pruner.strictness.fill_(model.pruner.keep_all)
        model.pruner.calibrated = True  # what is taught needs no gates, which are flat there
        try:
            yield
        finally:
            for parameter, requires_grad in before:
                parameter.requires_grad_(requires_grad)
            model.pruner.strictness.copy_(strictness)
            model.pruner.calibrated = calibrated
            model.pruner.soft_until, model.execution = soft_until, execution
