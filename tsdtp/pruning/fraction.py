"""The common rule of methods that keep the same fraction of every input."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from tsdtp.pruning.base import TokenPruner, check_fraction
from tsdtp.pruning.rules import top_fraction
from tsdtp.pruning.state import Decision, TokenState


class FractionPruner(TokenPruner):
    """Keeps the best (1 - strictness) of the tokens that may go, in each layer that prunes.

    Args:
        num_layers: blocks of the encoder.
        hidden_size: d.
        fraction: to keep, per pruning layer, of the live tokens that are not protected; where no
            budget sets it.
        layers: see `TokenPruner`.
        budget: see `TokenPruner`.

    Raises:
        ValueError: for a fraction outside [0, 1].
    """

    keep_all = 0.0
    search = (0.0, 1.0)

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        fraction: float = 0.7,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        check_fraction("fraction", fraction)
        super().__init__(num_layers, layers, budget, strictness=1 - fraction)
        self.hidden_size = hidden_size

    def decide(self, state: TokenState) -> Decision:
        """Keeps a fraction of the eligible tokens by score."""
        scores = self.score(state)
        fraction = 1 - self.strictness
        keep = top_fraction(scores, state.eligible, state.layout, fraction)
        return Decision(keep=keep, memory=scores)

    @abstractmethod
    def score(self, state: TokenState) -> Tensor:
        """[T], higher stays."""
