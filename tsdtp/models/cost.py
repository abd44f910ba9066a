"""FLOPs of an encoder on the tokens that are really there.

Counted as torch's counter counts: two per multiply-add of a matrix product, nothing for
normalisations and activations. Padding costs nothing here, scoring does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsdtp.pruning import TokenPruner


@dataclass(frozen=True)
class EncoderShape:
    """The sizes that decide the cost.

    Attributes:
        num_layers: blocks.
        hidden_size: d.
        intermediate_size: of the feed-forward.
        num_heads: of attention.
    """

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int

    def attention_flops(self, lengths: Tensor) -> Tensor:
        """Projections, scores and context for sequences of these lengths [...]."""
        return 8 * lengths * self.hidden_size**2 + 4 * lengths**2 * self.hidden_size

    def feed_forward_flops(self, lengths: Tensor) -> Tensor:
        """Both matrix products for sequences of these lengths [...]."""
        return 4 * lengths * self.hidden_size * self.intermediate_size

    def received_flops(self, lengths: Tensor) -> Tensor:
        """Averaging attention over heads and queries, where a method asks for it."""
        return 2 * self.num_heads * lengths**2


def encoder_flops(shape: EncoderShape, lengths: Tensor, pruner: TokenPruner | None) -> Tensor:
    """FLOPs spent per sequence.

    Args:
        shape: of the encoder.
        lengths: [L + 1, B] live tokens entering block 0 and after each block's dropping.
        pruner: whose scoring is counted; None counts the blocks alone.

    Returns:
        [B] float64.
    """
    lengths = lengths.double()
    total = torch.zeros_like(lengths[0])
    for layer in range(shape.num_layers if pruner is None else pruner.depth):
        entering, staying = lengths[layer], lengths[layer + 1]
        total += shape.attention_flops(entering) + shape.feed_forward_flops(staying)
        if pruner is not None and pruner.prunes(layer):
            total += pruner.flops(layer, entering)
            total += shape.received_flops(entering) if pruner.needs_attention else 0
    return total


def unpruned_flops(shape: EncoderShape, lengths: Tensor) -> Tensor:
    """[B] FLOPs of the same encoder on all tokens; lengths as for `encoder_flops`."""
    return encoder_flops(shape, lengths[:1].expand(shape.num_layers + 1, -1), None)
