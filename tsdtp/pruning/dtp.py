"""General DTP: dynamic token pruning that knows nothing of the task."""

from collections.abc import Sequence

from tsdtp.pruning.base import TokenPruner, finite
from tsdtp.pruning.rules import dynamic_threshold
from tsdtp.pruning.scores import log_share
from tsdtp.pruning.state import Decision, TokenState


class GeneralDTP(TokenPruner):
    """Prunes tokens whose cumulative attention received lies below mean - k * std.

    Keith et al., "Optimizing Large Language Models: A Novel Approach Through Dynamic Token
    Pruning", 2024. Importance is summed over the layers that prune; the threshold is each
    sequence's own, over its live, unprotected tokens. With a budget, k is calibrated to it.

    Args:
        num_layers: blocks of the encoder.
        hidden_size: not used; every method is built with the same two sizes.
        k: standard deviations below the mean, where no budget sets it; may be negative.
        log_scores: take the threshold on log importance. Raw attention is so skewed that
            mean - std lies below almost every token.
        fuse: see `TokenPruner`.
        layers: see `TokenPruner`.
        budget: see `TokenPruner`.

    Raises:
        ValueError: for a k that is not finite.
    """

    needs_attention = True
    search = (-8.0, 8.0)

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        k: float = 1.0,
        log_scores: bool = True,
        fuse: str | None = None,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        super().__init__(num_layers, layers, budget, strictness=-finite("k", k), fuse=fuse)
        self.log_scores = log_scores

    def decide(self, state: TokenState) -> Decision:
        """Keeps what scores at or above the sequence's own threshold."""
        assert state.attention is not None
        importance = state.attention
        if state.memory is not None:
            importance = importance + state.memory
        scores = importance
        if self.log_scores:
            scores = log_share(importance, state.alive, state.layout)
        threshold = dynamic_threshold(scores, state.eligible, state.layout, self.strictness)
        return Decision(keep=scores >= threshold, memory=importance)
