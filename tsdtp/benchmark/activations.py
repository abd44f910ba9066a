"""Bytes that a layout of the tokens needs for activations, reckoned rather than measured."""

from torch import Tensor

from tsdtp.models.cost import EncoderShape


def activation_bytes(shape: EncoderShape, lengths: Tensor, itemsize: int) -> float:
    """The most that any block needs at once for the tokens of one batch.

    Counted are, around attention, the hidden states with query, key, value and context (5 d a
    token) and, around the feed-forward, the hidden states before and after with what lies between
    (2 d + intermediate a token).

    Args:
        shape: of the encoder.
        lengths: [L + 1, B] tokens entering block 0 and after each block's dropping; every one of
            them the batch's width for the padded layout.
        itemsize: bytes of a number.
    """
    rows = lengths.sum(1)
    around_attention = rows[:-1].max() * 5 * shape.hidden_size
    around_feed_forward = rows[1:].max() * (2 * shape.hidden_size + shape.intermediate_size)
    return max(around_attention.item(), around_feed_forward.item()) * itemsize
