"""Token attributions of an unpruned model, block by block: the teacher of the task attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tsdtp.models.blocks import Family
from tsdtp.models.pruned import PrunedModel
from tsdtp.packing import Packed, pack, take
from tsdtp.pruning.base import check_count
from tsdtp.pruning.rules import segment_sum


def layer_conductance(
    teacher: PrunedModel,
    input_ids: Tensor,
    attention_mask: Tensor | None = None,
    token_type_ids: Tensor | None = None,
    labels: Tensor | None = None,
    *,
    mask_id: int,
    layers: Sequence[int],
    steps: int = 3,
) -> Tensor:
    """How much of what the teacher says flows through each token after each block's attention.

    What it says is the margin of the class that a classifier predicts (of other heads see
    `certainty_of`), and the log-probability of the target that a translator is given.

    Dhamdhere et al., "How Important Is a Neuron?", ICLR 2019, the total over inputs as a path
    integral, summed over the features of a token: integrated gradients (Sundararajan et al., ICML
    2017) of the hidden states instead of the input, along the path from the same sequence with
    every unprotected token masked. The integral over the path is taken by the trapezoidal rule.
    Attributions to the input say nothing of later blocks, where tokens have passed on what they
    knew.

    Args:
        teacher: an unpruned model, in evaluation mode.
        input_ids: [B, S].
        attention_mask: [B, S]; default: all ones.
        token_type_ids: [B, S] or None.
        labels: [B, N] targets for a translator; a classifier's are not looked at.
        mask_id: token id of the baseline.
        layers: blocks (from 0) to tell of.
        steps: parts of the path from the baseline; a forward and a backward pass each, and one.

    Returns:
        [B, S, L] float32 for all L blocks, absolute conductances that sum to 1 over a sequence;
        protected tokens, padding and the blocks not asked for hold 0, and so does the last block
        where the head reads one token of a sequence alone.

    Raises:
        ValueError: if steps is below 1.
    """
    check_count("steps", steps, of="")
    if attention_mask is None:
        attention_mask = torch.ones_like(input_ids)
    read = teacher.read_mask(input_ids, attention_mask)
    ids, valid = pack(input_ids, read), read.bool()
    types = None if token_type_ids is None else take(token_type_ids, valid, ids.layout.size)
    flow = signed_conductance(teacher, ids, types, labels, mask_id, layers, steps).abs()
    grid = flow.new_zeros(*input_ids.shape, flow.shape[1])
    grid[valid] = shares(flow, ids, teacher.protected(ids))
    return grid


def shares(flow: Tensor, ids: Packed, protected: Tensor) -> Tensor:
    """What each token has of its sequence, in each block.

    Args:
        flow: [T, L], not negative.
        ids: the layout of the T tokens.
        protected: [T] bool.

    Returns:
        [T, L], summing to 1 over a sequence's tokens without the protected ones, which hold 0.
    """
    flow = flow.masked_fill(protected[:, None], 0)
    return flow / segment_sum(flow, ids.layout)[ids.layout.segments].clamp(min=1e-12)


def signed_conductance(
    teacher: PrunedModel,
    ids: Packed,
    types: Tensor | None,
    labels: Tensor | None,
    mask_id: int,
    layers: Sequence[int],
    steps: int,
) -> Tensor:
    """[T, L] the conductances of packed tokens as they come; arguments as `layer_conductance`.

    Those of all tokens of a sequence sum to the change along the path, in every block that
    they are told of: not in the last one where the head reads one token of a sequence alone.
    """
    encoder, protected, seen = teacher.packed_encoder(), teacher.protected(ids), []
    encoder.family = _watched(encoder.family, seen)
    with torch.no_grad():
        inputs = encoder.embed(ids, types)
        masked_ids = ids.values.masked_fill(~protected, mask_id)
        baseline = encoder.embed(ids.like(masked_ids), types)
    total = torch.zeros(ids.layout.size, teacher.shape.num_layers, device=inputs.device)
    goal, after = None, []
    for step in range(steps, -1, -1):  # from the text, whose answer it is that is explained
        seen.clear()
        with torch.enable_grad():
            point = torch.lerp(baseline, inputs, step / steps).requires_grad_()
            encoding = encoder(ids.like(point), ids.values, protected, False)
            goal = teacher.goal(encoding, labels) if goal is None else goal
            states = [seen[layer] for layer in layers]
            gradients = torch.autograd.grad(teacher.certainty(encoding, goal).sum(), states)
        before = [(x.detach(), g) for x, g in zip(states, gradients, strict=True)]
        # The first point has none after it.
        for layer, (x, g), (y, h) in zip(layers, before, after, strict=False):
            if len(x) >= ids.layout.size:  # in the last block a head may read one token alone
                total[:, layer] += ((g + h) / 2 * (y - x)).sum(-1).float()[: ids.layout.size]
        after = before
    return total


def _watched(family: Family, seen: list[Tensor]) -> Family:
    """The same family; what enters each block's feed-forward is remembered."""

    def feed_forward(block, x: Tensor) -> Tensor:
        seen.append(x)
        return family.feed_forward(block, x)

    return replace(family, feed_forward=feed_forward)
