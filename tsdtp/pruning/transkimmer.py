"""Transkimmer: a small network per layer says of each token whether it goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from tsdtp.pruning.base import TokenPruner, check_count, check_positive
from tsdtp.pruning.rules import logistic_noise, mean_of, straight_through
from tsdtp.pruning.state import Decision, TokenState


class Transkimmer(TokenPruner):
    """Drops tokens that a layer's predictor, an MLP on their hidden states, says to skim.

    Guan et al., "Transkimmer: Transformer Learns to Layer-wise Skim", ACL 2022: predictors trained
    end to end through Gumbel-softmax with straight-through gradients, and a skim loss, the part of
    the tokens that stays. Ours differs:

    - The mask enters before the softmax (the published code's, after it, lets skimmed tokens keep
      their share of the normalisation; its authors call that an error).
    - Evaluation is deterministic; the published code draws noise there, too.
    - A skimmed token's hidden state is not forwarded to the output: a [CLS] head does not read it,
      and one that averages reads the tokens that stayed.
    - It sits between attention and feed-forward like every method here, and is as small as the
      task attention of `ts_dtp` instead of as wide as the model, so that scoring costs the same.
    - One strictness shifts all logits to meet the budget.
    - The skim loss of a block is the mean of the drawn, relaxed decisions on the tokens that it may
      still drop; the published code's is the hard mask so far over all of the sequence.
    - Predictors begin as torch begins layers, about half of the tokens staying where no budget is
      given; the published ones begin by keeping nearly all.

    Args:
        num_layers: blocks of the encoder.
        hidden_size: d.
        predictor_size: hidden units of the predictors.
        temperature: of the Gumbel-softmax.
        soft_until: see `TokenPruner`.
        layers: see `TokenPruner`.
        budget: see `TokenPruner`.

    Raises:
        ValueError: for a temperature or a predictor_size that is not positive.
    """

    search = (-16.0, 16.0)

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        predictor_size: int = 64,
        temperature: float = 1.0,
        soft_until: float = 1.0,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        check_positive("temperature", temperature)
        check_count("predictor_size", predictor_size)
        super().__init__(num_layers, layers, budget, strictness=0.0, soft_until=soft_until)
        self.temperature = temperature
        self.predictors: Any = nn.ModuleDict(
            {
                str(layer): nn.Sequential(
                    nn.LayerNorm(hidden_size),
                    nn.Linear(hidden_size, predictor_size),
                    nn.GELU(),
                    nn.Linear(predictor_size, 1),
                )
                for layer in self.layers
            }
        )

    def decide(self, state: TokenState) -> Decision:
        """The sign of the shifted logit; in training with noise."""
        logit = self.predictors[str(state.layer)](state.hidden).squeeze(1).float() - self.strictness
        if not self.learns:
            return Decision(keep=logit >= 0)
        soft = ((logit + logistic_noise(logit)) / self.temperature).sigmoid().float()
        keep = soft >= 0.5
        return Decision(keep, straight_through(keep, soft), loss=mean_of(soft, state.eligible))

    def flops(self, layer: int, lengths: Tensor) -> Tensor:
        """Both matrix products of the predictor."""
        weight = self.predictors[str(layer)][1].weight
        return 2 * lengths * (weight.numel() + weight.shape[0])
