"""PoWER-BERT: learned counts per layer, the same for every input."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tsdtp.pruning.base import TokenPruner, check_count, check_positive
from tsdtp.pruning.rules import rank_by_score, segment_sum, top_fraction
from tsdtp.pruning.state import Decision, TokenState


class PowerBert(TokenPruner):
    """Keeps a learned fraction per layer of the tokens, ranked by attention received.

    Goyal et al., "PoWER-BERT: Accelerating BERT Inference via Progressive Word-vector Elimination",
    ICML 2020. Soft-extract (section 3.3): every sorted position has a retention parameter that
    weighs the token there, and a penalty on their sum, larger in later layers; the sums then become
    counts, and the model adapts to these. Ours differs:

    - Retention is a function of the rank divided by the length (interpolated between `bins` learned
      points), and a layer's count a fraction, because texts differ in length and nothing is padded.
    - Retention weighs keys before the softmax instead of scaling word vectors.
    - It begins falling with the rank, and from layer to layer; the published one begins at 1.
    - Attention received includes a token's own; the published code leaves that out.
    - One strictness raises all retentions to a power, so that their means meet the budget.

    Args:
        num_layers: blocks of the encoder.
        hidden_size: not used; every method is built with the same two sizes.
        bins: learned points of each layer's retention.
        soft_until: see `TokenPruner`.
        rate: how many times faster retention learns than the pruner's learning rate says.
        layers: see `TokenPruner`.
        budget: see `TokenPruner`.

    Raises:
        ValueError: for fewer than 2 bins, or a rate that is not positive.
    """

    needs_attention = True
    search = (-8.0, 8.0)
    first: Tensor

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        bins: int = 16,
        soft_until: float = 0.5,
        rate: float = 10.0,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        check_count("bins", bins, least=2)
        check_positive("rate", rate)
        super().__init__(num_layers, layers, budget, strictness=0.0, soft_until=soft_until)
        self.rate = rate
        centres = torch.tensor([1 - (layer + 1) / (num_layers + 1) for layer in self.layers])
        places = (torch.arange(bins) + 0.5) / bins
        self.register_buffer("first", (centres[:, None] - places) / 0.2)
        self.shift = nn.Parameter(torch.zeros(len(self.layers), bins))

    def retention(self) -> Tensor:
        """[layers, bins] how much of each sorted position passes, 0 to 1."""
        learned = (self.first + self.rate * self.shift).double().sigmoid()
        return learned ** self.strictness.exp()

    def decide(self, state: TokenState) -> Decision:
        """Soft in the first part of training, where nothing is dropped, and hard after it."""
        assert state.attention is not None
        at = self.layers.index(state.layer)
        retention = self.retention()
        if self.learns:
            loss = (state.layer + 1) / self.num_layers * retention[at].mean()
            return Decision(state.alive, gate=self._soft(retention[at], state), loss=loss)
        kept = retention.detach().mean(1).cummin(0).values
        fraction = kept[at] / kept[at - 1] if at else kept[at]  # of those that are still there
        where = (state.eligible, state.layout)
        return Decision(keep=top_fraction(state.attention, *where, fraction.nan_to_num()))

    @staticmethod
    def _soft(retention: Tensor, state: TokenState) -> Tensor:
        """[T] retention at each token's rank, interpolated."""
        assert state.attention is not None
        rank = rank_by_score(state.attention, state.eligible, state.layout)
        count = segment_sum(state.eligible.double(), state.layout)[state.layout.segments]
        place = (rank + 0.5) / count.clamp(min=1) * len(retention) - 0.5
        place = place.clamp(0, len(retention) - 1)
        below = place.floor().long().clamp(max=len(retention) - 2)
        return torch.lerp(retention[below], retention[below + 1], place - below).float()
