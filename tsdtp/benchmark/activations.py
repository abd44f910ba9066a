"""Bytes that a layout of the tokens needs for activations, reckoned rather than measured."""

from torch import Tensor

from tsdtp.models.cost import EncoderShape


def activation_bytes(shape: EncoderShape, lengths: Tensor, itemsize: int) -> float:
    """The most that any block needs at once for the tokens of one batch.

    Counted are, around attention, the hidden states with query, key, value and context (5 d a token
    where the heads are together as wide as they; shared keys and values are repeated) and, around
    the feed-forward, the hidden states before and after with what lies between (2 d + intermediate
    a token; twice that where it is gated).

    Args:
        shape: of the encoder.
        lengths: [L + 1, B] tokens entering block 0 and after each block's dropping; every one of
            them the batch's width for the padded layout.
        itemsize: bytes of a number.
    """
    rows = lengths.sum(1)
    between = (shape.feed_forward_products - 1) * shape.intermediate_size
    around_attention = rows[:-1].max() * (shape.hidden_size + 4 * shape.all_heads_size)
    around_feed_forward = rows[1:].max() * (2 * shape.hidden_size + between)
    return max(around_attention.item(), around_feed_forward.item()) * itemsize
