"""Top-k by attention received: the rule of PoWER-BERT and the Length-Adaptive Transformer."""

from torch import Tensor

from tsdtp.pruning.fraction import FractionPruner
from tsdtp.pruning.state import TokenState


class TopK(FractionPruner):
    """Keeps the tokens that receive most attention in the layer, the same fraction of every input.

    Goyal et al., "PoWER-BERT", ICML 2020 (significance score, section 3.2); Kim and Cho,
    "Length-Adaptive Transformer", ACL 2021. The counts here come from a budget on FLOPs, not from
    their learned or evolved schedules, and what a token attends to itself counts.
    """

    needs_attention = True

    def score(self, state: TokenState) -> Tensor:
        """Attention received in this layer alone."""
        assert state.attention is not None
        return state.attention
