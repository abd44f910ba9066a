"""Random pruning: the floor that every other method has to beat at equal cost."""

from collections.abc import Sequence
from numbers import Integral

from torch import Tensor

from tsdtp.pruning.fraction import FractionPruner
from tsdtp.pruning.scores import hashed_uniform
from tsdtp.pruning.state import TokenState


class RandomPruning(FractionPruner):
    """Keeps a random subset, the same whenever the same sequence comes again.

    Args:
        num_layers: blocks of the encoder.
        hidden_size: not used.
        seed: of the draw.
        fraction: see `FractionPruner`.
        layers: see `TokenPruner`.
        budget: see `TokenPruner`.

    Raises:
        ValueError: for a seed that is no whole number of 31 bits, and see `FractionPruner`.
    """

    def __init__(
        self,
        num_layers: int,
        hidden_size: int,
        seed: int = 0,
        fraction: float = 0.7,
        layers: Sequence[int] | None = None,
        budget: float | None = None,
    ) -> None:
        if not isinstance(seed, Integral) or abs(seed) >= 2**31:
            raise ValueError(f"pruning.seed={seed!r}: valid is a whole number of 31 bits")
        super().__init__(num_layers, hidden_size, fraction, layers, budget)
        self.seed = seed

    def score(self, state: TokenState) -> Tensor:
        """One draw per token, in the first pruning layer; later layers cut the same order."""
        if state.memory is not None:
            return state.memory
        return hashed_uniform(state.input_ids, state.layout, self.seed)
