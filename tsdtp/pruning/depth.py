"""Fewer blocks instead of fewer tokens: the other way to spend less."""

from tsdtp.pruning.base import TokenPruner
from tsdtp.pruning.state import Decision, TokenState


class DepthReduction(TokenPruner):
    """Computes the first n blocks on all tokens and none of those above; the head reads block n.

    Sanh et al., "DistilBERT, a distilled version of BERT", NeurIPS EMC2 workshop 2019: a student of
    half the blocks, taught by the logits of the whole. Ours differs: the lower blocks are taken
    instead of every other one, so that n can be any number, and the student is not pretrained
    again, only fine-tuned like the other methods here (top-layer dropping of Sajjad et al., "On the
    Effect of Dropping Layers of Pre-trained Transformer Models", 2023).

    A budget gives the n whose FLOPs come closest. Blocks cannot fade out as tokens do, so training
    runs at that n from its first step. Where n is known, and for tokens to be dropped as well, see
    `blocks` of `tsdtp.prune`.

    Args:
        num_layers: L, blocks of the encoder.
        hidden_size: not used; every method is built with the same two sizes.
        budget: see `TokenPruner`.
    """

    keep_all = 0.0
    ramps = False
    search = (0.0, 1.0)

    def __init__(self, num_layers: int, hidden_size: int, budget: float | None = None) -> None:
        super().__init__(num_layers, (), budget)
        self.resolution = 0.5 / num_layers

    @property
    def depth(self) -> int:
        """n."""
        return max(round(self.num_layers * (1 - self.strictness.item())), 1)

    def decide(self, state: TokenState) -> Decision:
        """Never reached by an encoder: no layer prunes."""
        return Decision(keep=state.alive)
