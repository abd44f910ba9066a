"""LTP: a learned threshold per layer on attention received."""

from collections.abc import Sequence

import torch
from torch import nn

from tsdtp.pruning.base import TokenPruner, check_positive
from tsdtp.pruning.rules import mean_of
from tsdtp.pruning.state import Decision, TokenState


class LearnedThreshold(TokenPruner):
    """Drops tokens that receive less attention than the layer's learned threshold.

    Kim et al., "Learned Token Pruning for Transformers", KDD 2022: thresholds that rise linearly
    over the layers at first, trained through a soft mask with a penalty on what it lets pass
    (section 3.4), then fixed and hard while the model adapts. Ours differs:

    - A token's score is averaged over the valid queries alone; the published code averages over
      padded rows, too, so that there the decision depends on the batch's padded length.
    - The mask weighs keys before the softmax instead of the block's output, as everywhere here.
    - It is a sigmoid in the logarithm of score over threshold: scores span orders of magnitude.
    - One strictness scales all thresholds to the budget, and where there is one the training learns
      how they differ from layer to layer: what they have in common would be taken back.

    Args:
        num_layers: blocks of the encoder.
        hidden_size: not used; every method is built with the same two sizes.
        threshold: of the last layer at first; 0.01 in the published code.
        temperature: of the soft mask.
        soft_until: see `TokenPruner`.
        rate: how many times faster the thresholds learn than the pruner's learning rate says.
        layers: see `TokenPruner`.
        budget: see `TokenPruner`.

    Raises:
        ValueError: for a threshold, temperature or rate that is not positive.
    """

    needs_attention = True
    search = (-8.0, 8.0)
    first: torch.Tensor

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        threshold: float = 0.01,
        temperature: float = 0.5,
        soft_until: float = 0.5,
        rate: float = 10.0,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        check_positive("threshold", threshold)
        check_positive("temperature", temperature)
        check_positive("rate", rate)
        super().__init__(num_layers, layers, budget, strictness=0.0, soft_until=soft_until)
        self.temperature, self.rate = temperature, rate
        depths = torch.tensor([(layer + 1) / num_layers for layer in self.layers])
        self.register_buffer("first", (threshold * depths).log())
        self.shift = nn.Parameter(torch.zeros(len(self.layers)))

    def decide(self, state: TokenState) -> Decision:
        """Soft in the first part of training, where nothing is dropped, and hard after it."""
        assert state.attention is not None
        at = self.layers.index(state.layer)
        shift, common = self.shift, self.shift.mean()
        if self.budget is not None:
            shift = shift - common + common.detach()  # of the gradient alone
        threshold = (self.first + self.rate * shift)[at].double() + self.strictness
        margin = state.attention.clamp(min=1e-9).log() - threshold
        if not self.learns:
            return Decision(keep=margin >= 0)
        soft = (margin / self.temperature).sigmoid().float()
        return Decision(state.alive, gate=soft, loss=mean_of(soft, state.eligible))
