"""A given number of tokens per block at the cost of any method: for measuring speed untrained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from tsdtp.pruning import Decision, TokenPruner, TokenState
from tsdtp.pruning.rules import rank_among, segment_sum


class Scheduled(TokenPruner):
    """Lets a method decide, pays for that, and then keeps as many tokens as a schedule says.

    Time and memory depend on how many tokens stay, not on which, so a model of any size, its
    weights random, shows what pruning is worth on a machine. The first of the tokens that may go
    are those that stay: no quality is meant.

    Args:
        method: whose scoring is done.
        keep_schedule: per block, the fraction of a sequence's tokens that stays after its
            attention. Protected tokens stay whatever it says. Counts are rounded block by block, of
            what the block before has left: of a few tokens some more, or fewer, may stay.

    Raises:
        ValueError: for a schedule that is not one number in (0, 1] a block, that rises, or that
            drops after a block where the method does not prune.
    """

    def __init__(self, method: TokenPruner, keep_schedule: Sequence[float]) -> None:
        steps = list(pairwise([1.0, *keep_schedule]))
        said = f"keep_schedule={list(keep_schedule)}: valid "
        if len(steps) != method.num_layers:
            raise ValueError(f"{said}are {method.num_layers} fractions, one a block")
        if any(not 0 < after <= before for before, after in steps):
            raise ValueError(f"{said}are fractions in (0, 1], none larger than the one before")
        layers = [i for i, (before, after) in enumerate(steps) if after < before]
        if wrong := [i for i in layers if not method.prunes(i)]:
            name = type(method).__name__
            raise ValueError(f"{said}is to drop after {method.layers}, as {name} does, not {wrong}")
        super().__init__(method.num_layers, layers)
        self.method, self.fuse = method, method.fuse
        self.ratios = [after / before for before, after in steps]
        for name in ("attention", "embeddings", "projections"):
            setattr(self, f"needs_{name}", getattr(method, f"needs_{name}"))
        self.proportional_attention = method.proportional_attention

    def decide(self, state: TokenState) -> Decision:
        """The method's decision with as many other tokens as the schedule says."""
        decision = self.method.decide(state)  # what goes is fused after it, by the schedule
        present = segment_sum(state.alive.double(), state.layout)
        bound = segment_sum((state.alive & state.protected).double(), state.layout)
        count = (present * self.ratios[state.layer]).round() - bound
        rank = rank_among(state.eligible, state.layout)
        decision.keep = state.protected | (state.eligible & (rank < count[state.layout.segments]))
        decision.gate = None
        if decision.into is not None:
            rows = torch.arange(len(rank), device=rank.device)
            decision.into = torch.where(decision.keep, rows, decision.into)
        return decision

    def flops(self, layer: int, lengths: Tensor) -> Tensor:
        """The method's scoring."""
        return self.method.flops(layer, lengths)
