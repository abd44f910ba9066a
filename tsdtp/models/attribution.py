"""Token attributions of an unpruned model: the teacher of the task attention."""

from __future__ import annotations

import torch
from torch import Tensor

from tsdtp.models.encoder import Encoding
from tsdtp.models.pruned import PrunedModel
from tsdtp.packing import pack


def integrated_gradients(
    teacher: PrunedModel,
    input_ids: Tensor,
    attention_mask: Tensor,
    token_type_ids: Tensor | None = None,
    labels: Tensor | None = None,
    *,
    mask_id: int,
    steps: int = 4,
) -> Tensor:
    """How much each token carries of what the teacher says.

    That is the margin of the class that a classifier predicts, and the log-probability of the
    target that a translator is given.

    Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017, equation 3, on the
    input embeddings; the baseline is the same sequence with every unprotected token masked.

    Args:
        teacher: an unpruned model, in evaluation mode.
        input_ids: [B, S].
        attention_mask: [B, S].
        token_type_ids: [B, S] or None.
        labels: [B, N] targets for a translator; a classifier's are not looked at.
        mask_id: token id of the baseline.
        steps: points on the path from the baseline.

    Returns:
        [B, S] float32, absolute attributions that sum to 1 over a sequence; protected tokens and
        padding hold 0.
    """
    ids = pack(input_ids, attention_mask)
    valid = attention_mask.bool()
    types = None if token_type_ids is None else token_type_ids[valid]
    encoder, protected = teacher.packed_encoder(), teacher.protected(ids)
    baseline_ids = ids.values.masked_fill(~protected, mask_id)

    def encode(embeddings: Tensor) -> Encoding:
        return encoder(ids.like(embeddings), ids.values, protected, masked=False)

    with torch.no_grad():
        inputs = encoder.embed(ids, types)
        baseline = encoder.embed(ids.like(baseline_ids), types)
        goal = teacher.goal(encode(inputs), labels)
    total = torch.zeros_like(inputs)
    for step in range(steps):
        with torch.enable_grad():
            point = torch.lerp(baseline, inputs, (step + 0.5) / steps).requires_grad_()
            total += torch.autograd.grad(teacher.certainty(encode(point), goal).sum(), point)[0]
    attribution = ((inputs - baseline) * total).sum(-1).float().abs()
    grid = torch.zeros(input_ids.shape, device=input_ids.device)
    grid[valid] = attribution
    return grid / grid.sum(1, keepdim=True).clamp(min=1e-12)
