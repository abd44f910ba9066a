"""FLOPs of an encoder on the tokens that are really there.

Counted as torch's counter counts: two per multiply-add of a matrix product, nothing for
normalisations and activations; and two per weight that attention received sums up, which it does
not count. Padding costs nothing here, scoring does. (Methods that compare tokens with each other do
so on a padded grid, which can cost some percent more than is counted where lengths differ much.)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tsdtp.models.blocks import ROBERTA_LIKE
from tsdtp.pruning import TokenPruner


def max_positions(config: Any) -> int | None:
    """How long a sequence may be; None: T5's positions are relative, and do not end."""
    # RoBERTa numbers positions from the padding index on and so has fewer than it says.
    reserved = config.pad_token_id + 1 if config.model_type in ROBERTA_LIKE else 0
    positions = getattr(config, "max_position_embeddings", None)
    return positions and positions - reserved


@dataclass(frozen=True)
class EncoderShape:
    """The sizes that decide the cost.

    Attributes:
        num_layers: blocks.
        hidden_size: d.
        intermediate_size: of the feed-forward.
        num_heads: of attention.
        attention_size: of all heads together; None: the hidden size.
        feed_forward_products: matrix products in a feed-forward; a gated one has three.
        key_value_share: size of keys and values over that of queries, where heads share them.
        reads_one: one token of each sequence is read of the encoder; after the last attention
            the others are not computed.
    """

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    attention_size: int | None = None
    feed_forward_products: int = 2
    key_value_share: float = 1.0
    reads_one: bool = False

    @classmethod
    def of(cls, config: Any, gated: bool = False) -> EncoderShape:
        """The sizes of a Hugging Face config's encoder, under whatever names it has them.

        Args:
            config: of the model.
            gated: see `Family`; T5's config says it.
        """
        names = ("intermediate_size", "hidden_dim", "encoder_ffn_dim", "d_ff", "n_inner")
        head_size = getattr(config, "d_kv", None) or getattr(config, "head_dim", None)
        gated = gated or getattr(config, "is_gated_act", False)
        shared = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        return cls(
            num_layers=config.num_hidden_layers,
            hidden_size=config.hidden_size,
            intermediate_size=next(
                (getattr(config, n) for n in names if getattr(config, n, None)),
                4 * config.hidden_size,  # GPT-2's, unless told otherwise
            ),
            num_heads=config.num_attention_heads,
            attention_size=head_size and head_size * config.num_attention_heads,
            feed_forward_products=3 if gated else 2,
            key_value_share=shared / config.num_attention_heads,
        )

    @property
    def all_heads_size(self) -> int:
        """Of the queries of all heads together."""
        return self.attention_size or self.hidden_size

    def attention_flops(self, lengths: Tensor) -> Tensor:
        """Query, key, value, scores and context for sequences of these lengths [...]."""
        size = self.all_heads_size
        projections = 2 + 4 * self.key_value_share
        return projections * lengths * self.hidden_size * size + 4 * lengths**2 * size

    def output_flops(self, lengths: Tensor) -> Tensor:
        """The projection of the context."""
        return 2 * lengths * self.hidden_size * self.all_heads_size

    def feed_forward_flops(self, lengths: Tensor) -> Tensor:
        """The matrix products for sequences of these lengths [...]."""
        size = self.hidden_size * self.intermediate_size
        return 2 * self.feed_forward_products * lengths * size

    def received_flops(self, lengths: Tensor) -> Tensor:
        """Averaging attention over heads and queries, where a method asks for it."""
        return 2 * self.num_heads * lengths**2


def encoder_flops(shape: EncoderShape, lengths: Tensor, pruner: TokenPruner | None) -> Tensor:
    """FLOPs spent per sequence.

    Args:
        shape: of the encoder.
        lengths: [L + 1, B] live tokens entering block 0 and after each block's dropping.
        pruner: whose scoring is counted; None counts the blocks alone, all of them on all tokens.

    Returns:
        [B] float64.
    """
    lengths = lengths.double()
    total = torch.zeros_like(lengths[0])
    for layer, (entering, projected, staying) in enumerate(block_tokens(shape, lengths, pruner)):
        total += shape.attention_flops(entering) + shape.output_flops(projected)
        total += shape.feed_forward_flops(staying)
        if pruner is not None and pruner.prunes(layer):
            total += decision_flops(shape, pruner, layer, entering)
    return total


def decision_flops(shape: EncoderShape, pruner: TokenPruner, layer: int, lengths: Tensor) -> Tensor:
    """[...] what a pruner's decision takes: scoring, attention received where asked for, fusing."""
    scoring = pruner.flops(layer, lengths) + pruner.fusing_flops(lengths, shape.hidden_size)
    return scoring + shape.received_flops(lengths) if pruner.needs_attention else scoring


def block_tokens(
    shape: EncoderShape, lengths: Tensor, pruner: TokenPruner | None
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each block computed: tokens entering, after attention, and in the feed-forward, each [B].

    The arguments are those of `encoder_flops`.
    """
    depth = shape.num_layers if pruner is None else pruner.depth
    for layer in range(depth):
        entering, staying = lengths[layer], lengths[layer + 1]
        last = layer == depth - 1
        if shape.reads_one and last and pruner is not None and not pruner.prunes(layer):
            one = torch.ones_like(entering)
            yield entering, one, one
        else:
            yield entering, entering, staying


def unpruned_flops(shape: EncoderShape, lengths: Tensor) -> Tensor:
    """[B] FLOPs of the plain encoder, which computes every block on all tokens.

    What a head reads makes no difference to it; lengths as for `encoder_flops`.
    """
    return encoder_flops(shape, lengths[:1].expand(shape.num_layers + 1, -1), None)
