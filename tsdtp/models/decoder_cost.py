"""FLOPs of writing a target with a cache, beside those of the encoder.

Counted as in `tsdtp.models.cost`: two per multiply-add of a matrix product. One hypothesis is
counted; a beam of k writes k of them, from one encoding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class DecoderShape:
    """The sizes that decide the cost.

    Attributes:
        num_layers: blocks.
        hidden_size: d.
        intermediate_size: of the feed-forward.
        attention_size: of all heads together.
        vocab_size: of the targets.
        feed_forward_products: matrix products in a feed-forward; a gated one has three.
    """

    num_layers: int
    hidden_size: int
    intermediate_size: int
    attention_size: int
    vocab_size: int
    feed_forward_products: int = 2

    @classmethod
    def of(cls, config: Any) -> DecoderShape:
        """The sizes of a Hugging Face config's decoder, under whatever names it has them."""
        relative = config.model_type == "t5"
        own_words = not getattr(config, "share_encoder_decoder_embeddings", True)  # Marian's
        return cls(
            num_layers=config.num_decoder_layers if relative else config.decoder_layers,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff if relative else config.decoder_ffn_dim,
            attention_size=config.d_kv * config.num_heads if relative else config.d_model,
            vocab_size=config.decoder_vocab_size if own_words else config.vocab_size,
            feed_forward_products=3 if getattr(config, "is_gated_act", False) else 2,
        )

    def cross_attention_flops(self, source: Tensor, target: Tensor) -> Tensor:
        """Keys and values of the source, queries and outputs of the target, scores and context.

        Args:
            source: tokens that reach the decoder [...].
            target: tokens written [...].
        """
        projections = 4 * (source + target) * self.hidden_size * self.attention_size
        return self.num_layers * (projections + 4 * source * target * self.attention_size)

    def own_flops(self, target: Tensor) -> Tensor:
        """Everything that does not depend on the source, the choice of words included."""
        size, attention = self.hidden_size, self.attention_size
        block = (
            8 * target * size * attention
            + 2 * target * (target + 1) * attention  # a token sees itself and those before it
            + 2 * self.feed_forward_products * target * size * self.intermediate_size
        )
        return self.num_layers * block + 2 * target * size * self.vocab_size
