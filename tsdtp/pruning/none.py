"""No pruning: the unpruned model in the packed layout, the baseline of every comparison."""

from tsdtp.pruning.base import TokenPruner
from tsdtp.pruning.state import Decision, TokenState


class NoPruning(TokenPruner):
    """Keeps every token.

    Args:
        num_layers: blocks of the encoder.
        hidden_size: not used; every method is built with the same two sizes.
        budget: must be None; the argument is there so that a sweep over methods can name it.

    Raises:
        ValueError: for a budget.
    """

    def __init__(self, num_layers: int, hidden_size: int, budget: float | None = None) -> None:
        super().__init__(num_layers, layers=(), budget=budget)

    def decide(self, state: TokenState) -> Decision:
        """Never reached by an encoder: no layer prunes."""
        return Decision(keep=state.alive)
