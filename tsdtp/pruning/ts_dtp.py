"""TS-DTP: dynamic token pruning steered by a task-specific attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tsdtp.pruning.base import Decision, TokenPruner, TokenState
from tsdtp.pruning.rules import dynamic_threshold, segment_sum
from tsdtp.pruning.scores import log_share, segment_softmax
from tsdtp.pruning.task_attention import TaskSpecificAttention


class TsDtp(TokenPruner):
    """Prunes by hybrid attention, the model's own plus gamma times the task's.

    After "Dynamic token pruning for LLMs: leveraging task-specific attention and adaptive
    thresholds", Knowledge and Information Systems, 2025 (doi 10.1007/s10115-025-02450-1), built
    as described there and not as its published notebook computes it (see `ts_dtp_notebook`).

    - Task attention T: `TaskSpecificAttention`, softmaxed over a sequence's live tokens.
    - Hybrid attention: A + gamma * T, A the attention received; both sum to 1 over a sequence.
      With own_attention = False it is T alone, and no attention probabilities are computed.
    - Importance: cumulative over the layers that prune, each earlier layer weighted by `decay`.
    - Dynamic threshold: mean - k * std of log importance; k is calibrated where there is a budget.
    - Training: gates sigmoid((score - threshold) / temperature), straight-through.
    - Auxiliary loss: cross-entropy of T against a teacher's token attributions, or, without a
      teacher, the entropy of T, so that the task attention commits itself.

    Args:
        num_layers: blocks of the encoder.
        hidden_size: d.
        gamma: weight of the task attention.
        own_attention: add the model's own attention received.
        decay: weight of the importance gathered in earlier layers, 0 (none) to 1 (the plain sum).
        k: standard deviations below the mean, where no budget sets it; may be negative.
        task_feature_dim: features per token.
        temperature: of the gates.
        layers: see `TokenPruner`.
        budget: see `TokenPruner`.
    """

    needs_target = True
    search = (-8.0, 8.0)

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        gamma: float = 4.0,
        own_attention: bool = True,
        decay: float = 1.0,
        k: float = 1.0,
        task_feature_dim: int = 64,
        temperature: float = 0.5,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        if gamma <= 0:
            raise ValueError(f"pruning.gamma={gamma}: valid is > 0 (without task attention: dtp)")
        super().__init__(num_layers, layers, budget, strictness=-k)
        self.gamma, self.decay, self.temperature = gamma, decay, temperature
        self.needs_attention = own_attention
        self.task_attention = nn.ModuleDict(
            {str(i): TaskSpecificAttention(hidden_size, task_feature_dim) for i in self.layers}
        )

    def decide(self, state: TokenState) -> Decision:
        """Hard decision, and in training the gate with its gradient and the auxiliary loss."""
        logits = self._task_attention(state.layer)(state.hidden, state.embeddings)
        where = (state.alive, state.segments, state.cu_seqlens)
        task = segment_softmax(logits, *where)
        importance = self.gamma * task
        if state.attention is not None:
            importance = importance + state.attention
        if state.memory is not None:
            importance = importance + self.decay * state.memory
        scores = log_share(importance, *where)
        threshold = dynamic_threshold(
            scores.detach(), state.eligible, state.segments, state.cu_seqlens, self.strictness
        )
        keep = scores >= threshold
        if not self.training:
            return Decision(keep=keep, memory=importance)
        gate = self._gate(scores, threshold, keep)
        return Decision(keep, gate, importance, self._auxiliary_loss(task, state))

    def _gate(self, scores: Tensor, threshold: Tensor, keep: Tensor) -> Tensor:
        """[T] the hard decision in value, the soft one in gradient."""
        margin = (scores - threshold.to(scores.dtype)).nan_to_num(posinf=1e4, neginf=-1e4)
        soft = (margin / self.temperature).sigmoid()
        return keep.to(soft.dtype) + (soft - soft.detach())

    @staticmethod
    def _auxiliary_loss(task: Tensor, state: TokenState) -> Tensor:
        """Mean over sequences of the cross-entropy (or entropy) of the task attention."""
        logs = task.clamp(min=1e-9).log()
        goal = task if state.target is None else state.target.masked_fill(~state.alive, 0)
        total = segment_sum(goal, state.cu_seqlens)
        share = goal / total.clamp(min=1e-9)[state.segments]
        losses = -segment_sum(share * logs, state.cu_seqlens)
        known = total > 1e-9  # a teacher may have nothing to say about a sequence
        return torch.where(known, losses, 0).sum() / known.sum().clamp(min=1)

    def flops(self, layer: int, lengths: Tensor) -> Tensor:
        """The task features and their query."""
        return self._task_attention(layer).flops(lengths)

    def _task_attention(self, layer: int) -> TaskSpecificAttention:
        return cast(TaskSpecificAttention, self.task_attention[str(layer)])
