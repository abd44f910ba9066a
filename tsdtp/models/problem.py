"""What a classifier answers: one class of several, each class by itself, or numbers.

The names are those that `problem_type` has in transformers.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ONE_CLASS = "single_label_classification"
EACH_CLASS = "multi_label_classification"
NUMBERS = "regression"


def problem_of(config: Any) -> str:
    """What a Hugging Face config's head answers.

    Without a `problem_type` a single label is a number, as transformers takes it, and of several
    one is chosen.

    Raises:
        ValueError: for a choice of one class among one or none, or a type that is not known.
    """
    labels = config.num_labels  # None where it names none
    kind = config.problem_type or (NUMBERS if labels == 1 else ONE_CLASS)
    if kind == ONE_CLASS and labels is not None and labels < 2:
        raise ValueError(f"problem_type={kind} with num_labels={labels}: valid are 2 or more")
    if kind not in (ONE_CLASS, EACH_CLASS, NUMBERS):
        raise ValueError(f"problem_type={kind}: valid are {ONE_CLASS}, {EACH_CLASS}, {NUMBERS}")
    return kind


def loss_of(logits: Tensor, labels: Tensor | None, problem: str) -> Tensor | None:
    """Cross-entropy, of each class by itself a binary one, or the mean squared error of numbers.

    Args:
        logits: [B, C].
        labels: of one class [B], [B, 1] or probabilities [B, C]; else [B, C], or [B] where C is 1.
        problem: as `problem_of` gives it.

    Returns:
        The mean; None without labels.

    Raises:
        ValueError: for labels of another shape.
    """
    if labels is None:
        return None
    if problem == ONE_CLASS:
        return _cross_entropy(logits, labels)
    alone = logits.shape[1] == 1 and labels.numel() == len(logits)
    if not alone and labels.shape != logits.shape:
        raise ValueError(f"labels of shape {list(labels.shape)}: valid is {list(logits.shape)}")
    wanted = labels.reshape(logits.shape).float()
    if problem == NUMBERS:
        return F.mse_loss(logits.float(), wanted)
    return F.binary_cross_entropy_with_logits(logits.float(), wanted)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    if labels.is_floating_point() and labels.shape == logits.shape:
        return F.cross_entropy(logits, labels)
    if labels.numel() != len(logits):
        raise ValueError(
            f"labels of shape {list(labels.shape)}: valid is [{len(logits)}], one each (of a "
            "language model the token that follows)"
        )
    classes = labels.view(-1)
    return F.cross_entropy(logits, classes if labels.is_floating_point() else classes.long())


def answer_of(logits: Tensor, problem: str) -> Tensor:
    """[B, 1] the class of logits [B, C], or [B, C] 1 and -1: on which side of 0 each of them is."""
    if problem == ONE_CLASS:
        return logits.argmax(-1, keepdim=True)
    return torch.where(logits < 0, -1.0, 1.0)


def certainty_of(logits: Tensor, answer: Tensor, problem: str) -> Tensor:
    """[B] margin of an answer: of a class over the others together, else of all from 0, summed.

    Of one class by itself it is the margin over a second one whose logit is 0.
    """
    if problem != ONE_CLASS:
        return (logits * answer).sum(-1)
    others = logits.scatter(-1, answer, float("-inf")).logsumexp(-1)
    return logits.gather(-1, answer).squeeze(-1) - others


def probabilities_of(logits: Tensor, problem: str) -> Tensor | None:
    """[B, C] of the classes; None where numbers are answered."""
    if problem == NUMBERS:
        return None
    return logits.softmax(-1) if problem == ONE_CLASS else logits.sigmoid()
