"""TaskSpecificAttention: which tokens the task attends to, from hidden states and embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsdtp.pruning.rules import segment_mean
from tsdtp.pruning.state import TokenState


class TaskSpecificAttention(nn.Module):
    """Logits of the attention of one learned task query to each token.

    Task features of a token are `task_specific_weight` on its hidden state plus `feature_layer`
    on its input embedding, as described for TS-DTP. Where the description takes dot products of
    all pairs of features, one learned query reads them here: the cost is linear in the tokens and
    no attention probabilities are needed.

    Args:
        hidden_size: d.
        feature_dim: features per token.
        embedding_features: False takes the features from the hidden states alone.
        context: shift every token's features by a projection of the sequence's mean hidden state,
            so that what matters depends on what else is there.
    """

    def __init__(
        self,
        hidden_size: int,
        feature_dim: int,
        embedding_features: bool = True,
        context: bool = False,
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.task_specific_weight = nn.Linear(hidden_size, feature_dim, bias=False)
        self.feature_layer = nn.Linear(hidden_size, feature_dim) if embedding_features else None
        self.context = nn.Linear(hidden_size, feature_dim, bias=False) if context else None
        self.query = nn.Parameter(torch.randn(feature_dim))

    def forward(self, state: TokenState) -> Tensor:
        """Scores tokens.

        Args:
            state: T tokens; embeddings are not read without embedding features.

        Returns:
            [T] float32.
        """
        hidden = self.norm(state.hidden)
        features = self.task_specific_weight(hidden)
        if self.feature_layer is not None:
            assert state.embeddings is not None
            features = features + self.feature_layer(state.embeddings)
        if self.context is not None:
            mean = segment_mean(hidden, state.alive.float(), state.layout)
            features = features + self.context(mean)[state.layout.segments]
        return (F.gelu(features) @ self.query.to(features.dtype)).float() / len(self.query) ** 0.5

    def flops(self, lengths: Tensor) -> Tensor:
        """Matrix products for sequences of these lengths."""
        dim, size = self.task_specific_weight.weight.shape
        inputs = 1 if self.feature_layer is None else 2
        once = 0 if self.context is None else 2 * size * dim
        return lengths * (2 * inputs * size * dim + 2 * dim) + once
