"""Top-k by attention from [CLS]: what the token that the head reads looks at."""

from torch import Tensor

from tsdtp.pruning.fraction import FractionPruner
from tsdtp.pruning.scores import attention_from_first
from tsdtp.pruning.state import TokenState


class ClsAttention(FractionPruner):
    """Keeps the tokens that [CLS] attends to most, the same fraction of every input.

    Liang et al., "Not All Patches are What You Need: Expediting Vision Transformers via Token
    Reorganizations" (EViT), ICLR 2022, section 3.2 and equation 3: the class token's attention,
    averaged over heads, at a fixed keeping rate. Ours differs: the rate comes from a budget on
    FLOPs, and what is dropped is lost (EViT fuses it; `fuse` of `dtp` and `ts_dtp` does that).
    In a causal model, whose first token sees itself alone, it says nothing.
    """

    needs_projections = True

    def score(self, state: TokenState) -> Tensor:
        """The first token's attention in this layer alone."""
        assert state.query is not None and state.key is not None
        return attention_from_first(state.query, state.key, state.alive, state.layout)

    def flops(self, layer: int, lengths: Tensor) -> Tensor:
        """One query against all keys."""
        return 2 * lengths * self.hidden_size
