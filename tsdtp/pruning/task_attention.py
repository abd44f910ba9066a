"""TaskSpecificAttention: which tokens the task attends to, from hidden states and embeddings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TaskSpecificAttention(nn.Module):
    """Logits of the attention of one learned task query to each token.

    Task features of a token are `task_specific_weight` on its hidden state plus `feature_layer`
    on its input embedding, as described for TS-DTP. Where the description takes dot products of
    all pairs of features, one learned query reads them here: the cost is linear in the tokens and
    no attention probabilities are needed.

    Args:
        hidden_size: d.
        feature_dim: features per token.
    """

    def __init__(self, hidden_size: int, feature_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.task_specific_weight = nn.Linear(hidden_size, feature_dim, bias=False)
        self.feature_layer = nn.Linear(hidden_size, feature_dim)
        self.query = nn.Parameter(torch.randn(feature_dim))

    def forward(self, hidden: Tensor, embeddings: Tensor) -> Tensor:
        """Scores tokens.

        Args:
            hidden: [T, d].
            embeddings: [T, d].

        Returns:
            [T] float32.
        """
        features = self.task_specific_weight(self.norm(hidden)) + self.feature_layer(embeddings)
        return (F.gelu(features) @ self.query.to(features.dtype)).float() / len(self.query) ** 0.5

    def flops(self, lengths: Tensor) -> Tensor:
        """Matrix products for sequences of these lengths."""
        dim, size = self.task_specific_weight.weight.shape
        return lengths * (4 * size * dim + 2 * dim)
