"""TS-DTP: dynamic token pruning steered by a task-specific attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tsdtp.pruning.base import check_count
from tsdtp.pruning.hybrid import HybridPruner
from tsdtp.pruning.scores import segment_softmax
from tsdtp.pruning.state import TokenState
from tsdtp.pruning.task_attention import TaskSpecificAttention


class TsDtp(HybridPruner):
    """Prunes by a taught task attention, and where asked by the model's own attention beside it.

    After "Dynamic token pruning for LLMs: leveraging task-specific attention and adaptive
    thresholds", Knowledge and Information Systems, 2025 (doi 10.1007/s10115-025-02450-1), built
    as described there and not as its published notebook computes it (see `ts_dtp_notebook`; the
    formula nearest to the description is `ts_dtp_described`).

    - Task attention T: `TaskSpecificAttention`, softmaxed over a sequence's live tokens.
    - Hybrid attention: A + gamma * T, A the attention received; both sum to 1 over a sequence
      (but A where blocks hide keys, as causal and local ones do: to 0.5 with a sink in the
      beginning, to more than 1 where tokens look at themselves).
      By default (own_attention = False) it is T alone: the taught task attention was no worse
      without the model's own, and needs no attention probabilities.
    - Importance: cumulative over the layers that prune, each earlier layer weighted by `decay`.
    - Dynamic threshold: mean - k * std of log importance; k is calibrated where there is a budget.
    - Training, where T is not frozen: gates sigmoid((score - threshold) / temperature),
      straight-through, drawn with Gumbel noise if so asked (gate_noise).
    - Auxiliary loss: cross-entropy of T against a teacher's token attributions, or, without a
      teacher, the entropy of T, so that the task attention commits itself.

    Args:
        num_layers: blocks of the encoder.
        hidden_size: d.
        gamma: weight of the task attention beside the model's own; nothing without that.
        learn_gamma: learn it, for each layer on its own, from there.
        own_attention: add the model's own attention received.
        embedding_features: take task features from the input embeddings, too.
        context: see `TaskSpecificAttention`.
        decay: weight of the importance gathered in earlier layers, 0 (none) to 1 (the plain sum).
        k: standard deviations below the mean, where no budget sets it; may be negative.
        static_threshold: drop what scores below -k, one number for all inputs.
        log_scores: threshold on the logarithm of importance.
        task_feature_dim: features per token.
        temperature: of the gates.
        gate_noise: see `HybridPruner`.
        soft_until: see `TokenPruner`.
        fuse: see `TokenPruner`.
        layers: see `TokenPruner`.
        budget: see `TokenPruner`.

    Raises:
        ValueError: see `HybridPruner`; and for a task_feature_dim below 1.
    """

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        gamma: float = 4.0,
        learn_gamma: bool = False,
        own_attention: bool = False,
        embedding_features: bool = True,
        context: bool = False,
        decay: float = 1.0,
        k: float = 1.0,
        static_threshold: bool = False,
        log_scores: bool = True,
        task_feature_dim: int = 32,
        temperature: float = 0.5,
        gate_noise: bool = False,
        soft_until: float = 1.0,
        fuse: str | None = None,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        super().__init__(
            num_layers,
            gamma=gamma,
            learn_gamma=learn_gamma,
            own_attention=own_attention,
            decay=decay,
            k=k,
            static_threshold=static_threshold,
            log_scores=log_scores,
            temperature=temperature,
            gate_noise=gate_noise,
            soft_until=soft_until,
            fuse=fuse,
            layers=layers,
            budget=budget,
        )
        check_count("task_feature_dim", task_feature_dim)
        self.needs_embeddings = embedding_features
        self.task_attention: Any = nn.ModuleDict(
            {
                str(i): TaskSpecificAttention(
                    hidden_size, task_feature_dim, embedding_features, context
                )
                for i in self.layers
            }
        )

    def task(self, state: TokenState) -> Tensor:
        """The softmax of one learned task query's logits."""
        logits = self.task_attention[str(state.layer)](state)
        return segment_softmax(logits, state.alive, state.layout)

    def flops(self, layer: int, lengths: Tensor) -> Tensor:
        """The task features and their query."""
        return self.task_attention[str(layer)].flops(lengths)
