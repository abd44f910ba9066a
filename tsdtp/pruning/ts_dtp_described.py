"""The formula nearest to the paper's description of TS-DTP, with its own settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tsdtp.pruning.base import check_count
from tsdtp.pruning.hybrid import HybridPruner
from tsdtp.pruning.scores import attention_received
from tsdtp.pruning.state import TokenState


class PairwiseTaskAttention(nn.Module):
    """Task features of every token as a query and as a key.

    Args:
        hidden_size: d.
        feature_dim: f, features per token.
    """

    def __init__(self, hidden_size: int, feature_dim: int) -> None:
        super().__init__()
        self.task_specific_weight = nn.Linear(hidden_size, feature_dim, bias=False)
        # A bias would add the same to all scores of a query, which the softmax takes away again.
        self.feature_layer = nn.Linear(hidden_size, feature_dim, bias=False)

    def forward(self, hidden: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Queries [T, f] from hidden states [T, d], keys [T, f] from input embeddings [T, d]."""
        return self.task_specific_weight(hidden), self.feature_layer(embeddings)

    def flops(self, lengths: Tensor) -> Tensor:
        """The features, their products in all pairs, and the mean over queries."""
        dim, size = self.task_specific_weight.weight.shape
        return 4 * lengths * size * dim + 2 * lengths**2 * (dim + 1)


class TsDtpDescribed(HybridPruner):
    """Prunes by A + gamma * T as described, T a full attention between task features.

    "Dynamic token pruning for LLMs: leveraging task-specific attention and adaptive thresholds",
    Knowledge and Information Systems, 2025 (doi 10.1007/s10115-025-02450-1): T is the softmax of
    scaled dot products between weighted hidden states and features of the embeddings; importance
    is what A + gamma * T gives a token, averaged over queries, summed over layers; below
    mean - k * std of it a token goes; 128 features, gamma 0.5, k 1.

    Where the description is silent or cannot work ours differs: received attention is the mean over
    queries of valid tokens alone (over keys it is a constant, see `ts_dtp_notebook`); [CLS] and
    [SEP] stay; gates give the comparison a gradient; the auxiliary loss, whose form is not told, is
    that of `ts_dtp`. Importance is divided by its mean, which moves no decision but gives gates of
    short and long inputs the same scale. `ts_dtp` is what we found to work better: one learned task
    query a layer, on log scores.

    Args:
        num_layers: blocks of the encoder.
        hidden_size: d.
        gamma: weight of the task attention.
        k: standard deviations below the mean, where no budget sets it; may be negative.
        task_feature_dim: features per token.
        temperature: of the gates in training.
        layers: see `TokenPruner`.
        budget: see `TokenPruner`.

    Raises:
        ValueError: see `HybridPruner`; and for a task_feature_dim below 1.
    """

    needs_embeddings = True

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        gamma: float = 0.5,
        k: float = 1.0,
        task_feature_dim: int = 128,
        temperature: float = 0.5,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        super().__init__(
            num_layers,
            gamma=gamma,
            k=k,
            log_scores=False,
            temperature=temperature,
            layers=layers,
            budget=budget,
        )
        check_count("task_feature_dim", task_feature_dim)
        self.task_attention: Any = nn.ModuleDict(
            {str(i): PairwiseTaskAttention(hidden_size, task_feature_dim) for i in self.layers}
        )

    def task(self, state: TokenState) -> Tensor:
        """What each token receives of the task attention."""
        assert state.embeddings is not None
        queries, keys = self.task_attention[str(state.layer)](state.hidden, state.embeddings)
        return attention_received(queries, keys, state.alive, state.layout)

    def flops(self, layer: int, lengths: Tensor) -> Tensor:
        """The task features and all their pairs."""
        return self.task_attention[str(layer)].flops(lengths)
