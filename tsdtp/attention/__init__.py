"""Self-attention over packed tokens: several back ends behind one signature.

`reference` is written like the textbook. `padded` puts the tokens on a grid. `by_sequence` takes
one sequence after the other, without a mask or a copy to a grid: the fastest on a CPU but for
learning from short texts. `varlen` is torch's variable-length flash attention on CUDA.
Dropped tokens leave every softmax before it is normalised.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tsdtp.attention import by_sequence, padded, reference, varlen
from tsdtp.attention.softmax import Attention
from tsdtp.packing import Layout, in_half_precision

BACKENDS: dict[str, Callable[..., Attention]] = {
    "reference": reference.attend,
    "padded": padded.attend,
    "by_sequence": by_sequence.attend,
    "varlen": varlen.attend,
}
SETTINGS = ("auto", *BACKENDS)
_WORTH_IT = 400_000  # features times pairs: 33 tokens of MiniLM, 23 of BERT base


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: Layout,
    *,
    gate: Tensor | None = None,
    received: bool = False,
    dropout: float = 0.0,
    bias: Tensor | None = None,
    causal: bool = False,
    backend: str = "auto",
) -> Attention:
    """Scaled dot-product attention of every token to the tokens of its own sequence.

    Args:
        query: [R, H, D], as are key and value; rows beyond the layout's T tokens are dead.
        key: [R, H, D].
        value: [R, H, D].
        layout: where the sequences begin.
        gate: [T], the weight of each key in the softmax: 0 for a dropped token; 1 for a live one,
            or how many tokens it stands for, or what a soft gate says. A straight-through gate
            passes its gradient on to dropped tokens too.
        received: also return how much attention each token receives.
        dropout: probability of dropping an attention weight (training).
        bias: [2P - 1, H], or [2P - 1, 1] for all heads alike, added to the score of a key d
            positions after its query, from row P - 1 + d; P is more than the largest position.
            Positions are those of the layout, as they were before any dropping.
        causal: a token sees itself and those before it alone.
        backend: one of `SETTINGS`; "auto" takes what is fastest for these tensors.

    Returns:
        context [R, H, D] in the dtype of value, zero in dead rows, and received [T] float32 or
        None: the attention that token j receives, averaged over heads and over the live queries
        of its sequence; where keys are hidden, see `softmax.received_parts`.

    Raises:
        ValueError: for an unknown back end.
    """
    if backend not in SETTINGS:
        raise ValueError(f"unknown attention backend {backend!r}; valid: {', '.join(SETTINGS)}")
    if backend == "auto":
        backend = fastest(query, layout, gate, received, dropout, bias, causal)
    return BACKENDS[backend](query, key, value, layout, gate, received, dropout, bias, causal)


def fastest(
    query: Tensor,
    layout: Layout,
    gate: Tensor | None,
    received: bool,
    dropout: float,
    bias: Tensor | None = None,
    causal: bool = False,
) -> str:
    """The back end that "auto" stands for."""
    if varlen.serves(query, gate, received, dropout, bias, causal):
        return "varlen"
    if query.device.type != "cpu":
        return "padded"
    return "by_sequence" if not query.requires_grad or _long(query, layout) else "padded"


def _long(query: Tensor, layout: Layout) -> bool:
    """Whether a padded text's pairs take longer to learn from than calling operators for each text.

    Measured in float32; in half precision every new length would be a new size.
    """
    costly = query[0].numel() * layout.max_seqlen**2 > _WORTH_IT
    return costly and not in_half_precision(query)
