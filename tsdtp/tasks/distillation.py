"""What a student learns from unpruned models: their logits, on the texts and on altered ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.models.texts import IGNORED, Batch

TRUSTED = "trusted"  # key of a batch: rows whose labels still hold


def altered(batch: Batch, special_ids: Tensor, share: float) -> dict[str, Tensor]:
    """The batch with words of half of its rows exchanged for words of the batch.

    A student that only ever sees its teacher on the training texts agrees with it there and less
    elsewhere; on texts that nobody wrote the teacher has an answer, too. Labels do not hold there.
    After "consistent teaching" of Beyer et al., "Knowledge distillation: A good teacher is patient
    and consistent", CVPR 2022, with the words of the task's own texts as noise.

    Args:
        batch: input_ids and attention_mask [B, S].
        special_ids: [N], never exchanged, nor put in place of a word.
        share: of the words in such a row, on average.

    Returns:
        The same with other input_ids, and `trusted` [B] bool: rows that nothing happened to.
    """
    ids = batch["input_ids"]
    words = batch["attention_mask"].bool() & ~torch.isin(ids, special_ids)
    chosen = torch.rand(len(ids), 1, device=ids.device) < 0.5
    chosen = chosen & words & (torch.rand(ids.shape, device=ids.device) < share)
    pool = ids[words]
    if not len(pool):
        return {**batch, TRUSTED: ~chosen.any(1)}
    drawn = pool[torch.randint(len(pool), ids.shape, device=ids.device)]
    return {**batch, "input_ids": torch.where(chosen, drawn, ids), TRUSTED: ~chosen.any(1)}


def cross_entropy(
    logits: Tensor, labels: Tensor, trusted: Tensor | None, label_smoothing: float
) -> Tensor:
    """Mean over the labels that hold; 0 where none does.

    Args:
        logits: [B, ..., C] float32.
        labels: [B, ...], negative where there is none.
        trusted: [B] bool, or None for all.
        label_smoothing: see torch.
    """
    holds = labels >= 0
    if trusted is not None:
        holds = holds & trusted.view(-1, *[1] * (labels.ndim - 1))
    losses = F.cross_entropy(
        logits.flatten(0, -2),
        labels.masked_fill(~holds, IGNORED).flatten(),
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    return losses / holds.sum().clamp(min=1)


def mean_prediction(logits: Sequence[Tensor], temperature: float) -> Tensor:
    """[..., C] logarithm of the mean of several teachers' probabilities, of logits [..., C]."""
    logs = [(each.float() / temperature).log_softmax(-1) for each in logits]
    return torch.stack(logs).logsumexp(0) - math.log(len(logs))


def divergence(logits: Tensor, goal: Tensor, temperature: float) -> Tensor:
    """KL divergence of a student from its teachers, mean over rows; 0 of none.

    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015: times the square
    of the temperature, so that gradients keep their size.

    Args:
        logits: [N, C] of the student.
        goal: [N, C] log-probabilities at that temperature.
        temperature: of both.
    """
    student = (logits / temperature).log_softmax(-1)
    match = F.kl_div(student, goal, reduction="sum", log_target=True)
    return temperature**2 * match / max(len(logits), 1)
