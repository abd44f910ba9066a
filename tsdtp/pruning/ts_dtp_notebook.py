"""The formula of the published TS-DTP notebook, literally: a no-op for anyone to see."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tsdtp.pruning.base import TokenPruner, check_count, finite
from tsdtp.pruning.rules import dynamic_threshold
from tsdtp.pruning.state import Decision, TokenState


class TsDtpNotebook(TokenPruner):
    """Importance is the mean over KEYS of a row-softmax: 1 / n for every token.

    The mean of a constant is that constant and its deviation 0, so mean - std lies on every score
    and nothing is below it: 0 % of the tokens are pruned, at the cost of the scoring. The task
    attention's gradient is exactly zero, so its weights are frozen here.

    Args:
        num_layers: blocks of the encoder.
        hidden_size: d.
        gamma: weight of the task attention (0.5 in the notebook).
        k: standard deviations below the mean (1 in the notebook).
        task_feature_dim: 128 in the notebook.
        layers: see `TokenPruner`.
        budget: must be None; no threshold of this formula prunes anything.

    Raises:
        ValueError: for a budget, a k or gamma that is not finite, or a task_feature_dim below 1.
    """

    needs_embeddings = True

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        gamma: float = 0.5,
        k: float = 1.0,
        task_feature_dim: int = 128,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        super().__init__(num_layers, layers, budget, strictness=-finite("k", k))
        check_count("task_feature_dim", task_feature_dim)
        self.gamma = finite("gamma", gamma)
        self.feature_layer = nn.Linear(hidden_size, task_feature_dim)
        self.requires_grad_(False)

    @property
    def trainable(self) -> bool:
        """Never, whatever thaws its weights."""
        return False

    def decide(self, state: TokenState) -> Decision:
        """Hard comparison with mean - k * std, as published."""
        importance = self._importance(state)
        if state.memory is not None:
            importance = importance + state.memory
        threshold = dynamic_threshold(importance, state.alive, state.layout, self.strictness)
        # Rounding moves constants by an ulp; without the tolerance that noise would prune.
        return Decision(keep=importance >= threshold - 1e-6, memory=importance)

    def _importance(self, state: TokenState) -> Tensor:
        """[T] (1 + gamma) * mean over keys of softmaxed rows, computed as the notebook does."""
        assert state.embeddings is not None
        features = self.feature_layer(state.embeddings).float()
        scores = torch.empty_like(features[:, 0])
        for start, end in state.layout.bounds:
            f = features[start:end]
            task = (f @ f.T * f.shape[-1] ** -0.5).softmax(-1)
            own = torch.full_like(task, 1 / len(f))  # any row-softmax has this row mean
            scores[start:end] = (own + self.gamma * task).mean(-1)
        return scores

    def flops(self, layer: int, lengths: Tensor) -> Tensor:
        """The task features and all their pairs."""
        dim, size = self.feature_layer.weight.shape
        return 2 * lengths * size * dim + 2 * lengths**2 * dim
