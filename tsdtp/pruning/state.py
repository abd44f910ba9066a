"""What a pruner is told about the tokens at one layer, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tsdtp.packing import Layout


@dataclass
class TokenState:
    """What a pruner sees at one layer, between attention and feed-forward.

    All per-token tensors hold T rows, the tokens of B sequences one after the other. In packed
    execution dropped tokens are gone; in masked execution they are there with alive = False.

    Attributes:
        layer: index of the block, from 0.
        hidden: [T, d] hidden states after the block's attention.
        embeddings: [T, d] what entered the first block, or None if not asked for.
        attention: [T] float32 attention received in this block, or None if not asked for.
        memory: [T] what the pruner returned as memory in the last layer that it saw, or None.
        alive: [T] bool, tokens not dropped so far.
        protected: [T] bool, tokens that may not be dropped.
        layout: where each sequence begins, and each token's original position in it.
        input_ids: [T] int64.
        target: [T] float32 or None, how much each token matters here by a teacher's attribution.
        query: [T, H, D] of this block's attention, or None if not asked for; key likewise.
        key: [T, H, D] or None.
        mass: [T] what earlier merges weighed, summed up in the tokens merged into; None before any.
        summary: [T] bool, tokens that dropped ones are fused into; None before any.
    """

    layer: int
    hidden: Tensor
    embeddings: Tensor | None
    attention: Tensor | None
    memory: Tensor | None
    alive: Tensor
    protected: Tensor
    layout: Layout
    input_ids: Tensor
    target: Tensor | None = None
    query: Tensor | None = None
    key: Tensor | None = None
    mass: Tensor | None = None
    summary: Tensor | None = None

    @property
    def eligible(self) -> Tensor:
        """[T] bool, the tokens that may be dropped here."""
        return self.alive & ~self.protected


@dataclass
class Decision:
    """What a pruner answers.

    Attributes:
        keep: [T] bool, among the tokens alive.
        gate: [T] float or None (training only), the weight of each token in every softmax from here
            on, with a gradient: 0 or 1 like `keep`, or, in a method that trains softly, between.
        memory: [T] or None, handed back in the next layer for the tokens that stay.
        loss: scalar or None, this layer's auxiliary loss (training only).
        into: [T] int64 or None, the row of the same sequence that a dropped token is merged into;
            its own for every other token.
        mass: [T], with `into`: the weight of each token in that average.
        summary: [T] bool or None, tokens that stand for dropped ones: protected from here on.
    """

    keep: Tensor
    gate: Tensor | None = None
    memory: Tensor | None = None
    loss: Tensor | None = None
    into: Tensor | None = None
    mass: Tensor | None = None
    summary: Tensor | None = None
