"""What the TS-DTP methods share: hybrid attention, cumulative importance, thresholds, gates."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tsdtp.pruning.base import TokenPruner, check_fraction, check_positive, finite
from tsdtp.pruning.rules import (
    dynamic_threshold,
    logistic_noise,
    segment_sum,
    straight_through,
)
from tsdtp.pruning.scores import log_share, share
from tsdtp.pruning.state import Decision, TokenState


class HybridPruner(TokenPruner):
    """Prunes by the model's own attention received plus gamma times a task attention.

    A method says what its task attention is; see `TsDtp` for the rest.

    Args:
        num_layers: blocks of the encoder.
        gamma: weight of the task attention beside the model's own; nothing without that.
        k: standard deviations below the mean, where no budget sets it; may be negative.
        log_scores: threshold on the logarithm of importance.
        temperature: of the gates.
        gate_noise: gates that learn draw with the probability of their sigmoid, as Transkimmer's
            do, instead of keeping what lies above the threshold.
        soft_until: see `TokenPruner`.
        learn_gamma: learn it, for each layer on its own, from there.
        own_attention: add the model's own attention received.
        decay: weight of the importance gathered in earlier layers, 0 (none) to 1 (the plain sum).
        static_threshold: drop what scores below -k, one number for all inputs.
        fuse: see `TokenPruner`.
        layers: see `TokenPruner`.
        budget: see `TokenPruner`.

    Raises:
        ValueError: for a gamma or temperature that is not positive, a k that is not finite, a
            gamma to be learned with nothing to weigh against, or a decay that is none.
    """

    needs_target = True
    search = (-8.0, 8.0)

    def __init__(
        self,
        num_layers: int,
        *,
        gamma: float,
        k: float,
        log_scores: bool,
        temperature: float,
        gate_noise: bool = False,
        soft_until: float = 1.0,
        learn_gamma: bool = False,
        own_attention: bool = True,
        decay: float = 1.0,
        static_threshold: bool = False,
        fuse: str | None = None,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        check_positive("gamma", gamma)  # 0 would be dtp
        check_positive("temperature", temperature)
        check_fraction("decay", decay)
        if learn_gamma and not own_attention:
            raise ValueError(
                "pruning.learn_gamma=true: valid with pruning.own_attention=true alone"
            )
        super().__init__(
            num_layers,
            layers,
            budget,
            strictness=-finite("k", k),
            fuse=fuse,
            soft_until=soft_until,
        )
        self.gamma, self.decay, self.temperature = gamma, decay, temperature
        self.gate_noise = gate_noise
        self.static_threshold, self.log_scores = static_threshold, log_scores
        self.needs_attention = own_attention
        start = torch.full((len(self.layers),), float(gamma)).log()
        self.log_gamma = nn.Parameter(start) if learn_gamma else None

    @abstractmethod
    def task(self, state: TokenState) -> Tensor:
        """[T] float32, the task attention, summing to 1 over each sequence's live tokens."""

    def decide(self, state: TokenState) -> Decision:
        """Hard decision, and in training the gate with its gradient and the auxiliary loss."""
        with torch.set_grad_enabled(self.learns and torch.is_grad_enabled()):
            return self._decide(state)

    def _decide(self, state: TokenState) -> Decision:
        task = self.task(state)
        importance = self._gamma(state.layer) * task
        if state.attention is not None:
            importance = importance + state.attention
        if state.memory is not None:
            importance = importance + self.decay * state.memory
        comparable = log_share if self.log_scores else share
        scores = comparable(importance, state.alive, state.layout)
        threshold = self._threshold(scores.detach(), state)
        keep = scores >= threshold
        if not self.learns:
            return Decision(keep=keep, memory=importance)
        margin = (scores - threshold.to(scores.dtype)).nan_to_num(posinf=1e4, neginf=-1e4)
        logit = margin / self.temperature
        if self.gate_noise:
            logit = logit + logistic_noise(logit)
            keep = logit >= 0
        gate = straight_through(keep, logit.sigmoid())
        return Decision(keep, gate, importance, self._auxiliary_loss(task, state))

    def _gamma(self, layer: int) -> float | Tensor:
        if self.log_gamma is None:
            return self.gamma
        return self.log_gamma[self.layers.index(layer)].exp()

    def _threshold(self, scores: Tensor, state: TokenState) -> Tensor:
        if self.static_threshold:
            return self.strictness.expand(scores.shape[0])
        return dynamic_threshold(scores, state.eligible, state.layout, self.strictness)

    @staticmethod
    def _auxiliary_loss(task: Tensor, state: TokenState) -> Tensor:
        """Mean over sequences of the cross-entropy (or entropy) of the task attention."""
        logs = task.clamp(min=torch.finfo(task.dtype).tiny).log()
        goal = task if state.target is None else state.target.masked_fill(~state.alive, 0)
        total = segment_sum(goal, state.layout)
        part = goal / total.clamp(min=1e-9)[state.layout.segments]
        losses = -segment_sum(part * logs, state.layout)
        known = total > 1e-9  # a teacher may have nothing to say about a sequence
        return torch.where(known, losses, 0).sum() / known.sum().clamp(min=1)
