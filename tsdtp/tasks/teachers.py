"""Unpruned models that teach together, asked no more often than need be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.models import PrunedModel
from tsdtp.tasks.distillation import mean_prediction


class Teachers:
    """What several models of one task say of a batch, on average.

    Answers to unaltered texts are remembered by `index`. They are asked every time about altered
    texts, and about all texts of a translator, whose answers are too large to keep.

    Args:
        models: of one task; they are not trained.
        temperature: of their answers.
        sampled: what is asked anew is asked of one of them, drawn in every step, instead of all.
            The divergence from an answer is linear in its probabilities, so that gives on average
            the gradient of all, for the price of one.
    """

    def __init__(
        self, models: Sequence[PrunedModel], temperature: float = 1.0, sampled: bool = False
    ) -> None:
        self.models, self.temperature, self.sampled = list(models), temperature, sampled
        self._known: Tensor | None = None  # [rows, C], NaN where nobody was asked

    def __len__(self) -> int:
        """How many there are."""
        return len(self.models)

    def start(self, device: torch.device) -> None:
        """They go to a device, as models that learn nothing, and forget what they said."""
        self._known = None
        for model in self.models:
            model.to(device).eval().requires_grad_(False)

    @torch.no_grad()
    def goal(
        self,
        inputs: Mapping[str, Tensor],
        labels: Tensor,
        index: Tensor | None = None,
        trusted: Tensor | None = None,
    ) -> Tensor:
        """Log-probabilities [N, C] to be learnt, a row for each of the N labels not below 0.

        Args:
            inputs: of a batch, [B, ...] each.
            labels: [B] of texts, [B, ...] of words.
            index: [B] which text of the training data each is; None: nothing is remembered.
            trusted: [B] bool, which ones are as they were; None: all.
        """
        counted = labels >= 0
        if labels.ndim > 1 or index is None:
            given = self._answers(inputs, labels, self.sampled)
            return mean_prediction([logits[counted] for logits in given], self.temperature)
        lasting = torch.ones_like(counted) if trusted is None else trusted
        new = lasting & ~self._remembered(index)
        turns = [(new, False), (~lasting, True)] if self.sampled else [(new | ~lasting, False)]
        found = [
            (rows, self._mean({k: v[rows] for k, v in inputs.items()}, labels[rows], sampled))
            for rows, sampled in turns
            if rows.any()
        ]
        return self._gather(found, index, lasting)[counted]

    def _remembered(self, index: Tensor) -> Tensor:
        """[B] bool, which texts are known; those that lie beyond the memory get a place in it."""
        if self._known is None:
            return torch.zeros_like(index, dtype=torch.bool)
        if (lacking := int(index.max()) + 1 - len(self._known)) > 0:
            self._known = F.pad(self._known, (0, 0, 0, lacking), value=torch.nan)
        return ~self._known[index].isnan().any(-1)

    def _gather(self, found: list[tuple[Tensor, Tensor]], index: Tensor, lasting: Tensor) -> Tensor:
        """[B, C] from what was just said of some rows, which is kept, and what is remembered."""
        if self._known is None:
            classes = found[0][1].shape[-1]
            self._known = found[0][1].new_full((int(index.max()) + 1, classes), torch.nan)
        goal = self._known[index]
        for rows, said in found:
            goal[rows] = said
        self._known[index[lasting]] = goal[lasting]
        return goal

    def _mean(self, inputs: Mapping[str, Tensor], labels: Tensor, sampled: bool) -> Tensor:
        return mean_prediction(self._answers(inputs, labels, sampled), self.temperature)

    def _answers(self, inputs: Mapping[str, Tensor], labels: Tensor, sampled: bool) -> list[Tensor]:
        """Logits [B, ..., C]: each teacher's of all rows, or one for which each row asks one."""
        if not sampled:
            return [model(**inputs, labels=labels).logits for model in self.models]
        drawn = torch.randint(len(self), labels.shape[:1], device=labels.device)
        groups = {t: (drawn == t).nonzero().flatten() for t in drawn.unique().tolist()}
        asked = [
            self.models[t](**{k: v[rows] for k, v in inputs.items()}, labels=labels[rows]).logits
            for t, rows in groups.items()
        ]
        return [torch.cat(asked)[torch.cat([*groups.values()]).argsort()]]
