"""What the encoder's loop carries for every token, and what a pruner's decision does to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsdtp.models.blocks import Rotary
from tsdtp.packing import Packed, in_half_precision, select
from tsdtp.pruning import Decision, TokenState
from tsdtp.pruning.merging import merge

_PER_TOKEN = (
    "embeddings",
    "input_ids",
    "protected",
    "memory",
    "target",
    "mass",
    "summary",
)


def wants_alignment(rows: Tensor) -> bool:
    """Whether rows are filled up to a rounded number: in half precision, but for an export.

    There pruning makes a new number of rows in every layer, see `in_half_precision`; an exported
    program, of one text, can not ask for its length.
    """
    return not torch.compiler.is_exporting() and in_half_precision(rows)


@dataclass
class Tokens:
    """What the loop carries for T tokens; everything here shrinks together when tokens go."""

    hidden: Packed
    embeddings: Tensor | None
    input_ids: Tensor
    protected: Tensor
    alive: Tensor
    gate: Tensor | None = None
    memory: Tensor | None = None
    target: Tensor | None = None
    query: Tensor | None = None
    key: Tensor | None = None
    mass: Tensor | None = None
    summary: Tensor | None = None
    # Of attention in each block, not of a token: it does not shrink.
    biases: Sequence[Tensor | None] | None = None
    # Rotates queries and keys in each block, by the positions of the tokens that are there.
    rotary: Sequence[Rotary] | None = None

    def state(self, layer: int, received: Tensor | None) -> TokenState:
        """What a pruner sees after that layer's attention.

        Args:
            layer: from 0.
            received: [T] attention received, where it was asked for.
        """
        return TokenState(
            layer=layer,
            hidden=self.hidden.values,
            embeddings=self.embeddings,
            attention=received,
            memory=self.memory,
            alive=self.alive,
            protected=self.protected,
            layout=self.hidden.layout,
            input_ids=self.input_ids,
            target=None if self.target is None else self.target[:, layer],
            query=self.query,
            key=self.key,
            mass=self.mass,
            summary=self.summary,
        )

    def apply(self, decision: Decision, masked: bool) -> Tensor | None:
        """What a decision says: merging first, then dropping; which stay, if others leave."""
        self.memory = decision.memory
        if decision.into is not None:
            assert decision.mass is not None
            values, self.mass = merge(self.hidden.values, decision.mass, decision.into)
            self.hidden = self.hidden.like(values)
        if decision.summary is not None:
            self.summary = decision.summary
            self.protected = self.protected | decision.summary
        if masked:
            self.mask(decision)
            return None
        return self.drop(decision.keep)

    def weights(self, proportional: bool) -> Tensor | None:
        """[T] weight of each token in a softmax or a mean; None: all weigh the same."""
        if not proportional or self.mass is None:
            return self.gate
        # Merged into another a token has mass 0, by which its gate would learn nothing.
        return self.mass if self.gate is None else self.gate * self.mass.clamp(min=1)

    def drop(self, keep: Tensor) -> Tensor:
        """Packed execution: takes the tokens that are not kept out of memory; says which stay."""
        before = self.hidden
        self.hidden, index = select(before, keep, wants_alignment(before.rows))
        if self.hidden is not before:
            for name in _PER_TOKEN:
                value = getattr(self, name)
                setattr(self, name, None if value is None else value.index_select(0, index))
            self.alive = self.alive[: self.hidden.layout.size]  # all are, where the others leave
        return index

    def mask(self, decision: Decision) -> None:
        """Masked execution: dropped tokens stay, with weight 0 from here on."""
        gone, self.alive = ~self.alive, self.alive & decision.keep
        gate = decision.keep.float() if decision.gate is None else decision.gate
        # What went before has the gate of then, whose gradient a second zero would end.
        gate = torch.where(self.protected | gone, 1.0, gate)
        self.gate = gate if self.gate is None else self.gate * gate
