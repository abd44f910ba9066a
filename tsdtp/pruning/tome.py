"""ToMe: similar tokens are merged instead of dropped."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tsdtp.pruning.base import TokenPruner, check_fraction
from tsdtp.pruning.fusing import size_of
from tsdtp.pruning.merging import bipartite_match, similarity_flops
from tsdtp.pruning.rules import top_fraction
from tsdtp.pruning.state import Decision, TokenState


class TokenMerging(TokenPruner):
    """Merges the most similar pairs of tokens of each sequence; nothing is trained.

    Bolya et al., "Token Merging: Your ViT But Faster", ICLR 2023: bipartite soft matching on the
    cosine of keys, averages weighted by size, proportional attention, between attention and
    feed-forward. Ours differs: a fraction of each sequence's pairs is merged instead of the same
    number r from every input, because texts differ in length, and keys are compared in all heads
    side by side instead of averaged over them, which costs little where sequences are short. At
    most half of the live tokens go per layer. [CLS] and [SEP] are never merged away; others may be
    merged into [SEP].

    Args:
        num_layers: blocks of the encoder.
        hidden_size: d, taken for the width of all heads' keys together (of T5-3b it is not).
        fraction: of the pairs to merge per layer, where no budget sets it.
        layers: see `TokenPruner`.
        budget: see `TokenPruner`.

    Raises:
        ValueError: for a fraction outside [0, 1].
    """

    needs_projections = True
    proportional_attention = True
    keep_all = 0.0
    search = (0.0, 1.0)

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        fraction: float = 0.3,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        check_fraction("fraction", fraction)
        super().__init__(num_layers, layers, budget, strictness=fraction)
        self.hidden_size = hidden_size

    def decide(self, state: TokenState) -> Decision:
        """Which tokens go into which."""
        assert state.key is not None
        source, similarity, partner = bipartite_match(
            state.key.flatten(1), state.alive, state.layout
        )
        source = source & ~state.protected
        stays = top_fraction(-similarity, source, state.layout, 1 - self.strictness)
        merged = source & ~stays
        rows = torch.arange(merged.shape[0], device=merged.device)
        into = torch.where(merged, partner, rows)
        return Decision(state.alive & ~merged, into=into, mass=size_of(state))

    def flops(self, layer: int, lengths: Tensor) -> Tensor:
        """The similarities of half the tokens with the other half."""
        return similarity_flops(lengths, self.hidden_size)
