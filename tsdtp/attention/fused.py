"""Attention by torch's fused kernel, where nobody asks for the weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.attention.softmax import additive_mask

_SHORT = 256  # tokens


def fused(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    gate: Tensor | None,
    bias: Tensor | None,
    dropout: float,
    causal: bool,
) -> Tensor:
    """Context [B, H, S, D]; short sequences learn in single precision on a CPU.

    The kernel's gradient in half precision takes three to eight times as long there with up to 64
    tokens, about as long with 256, and less with more; with dropout another kernel is taken anyway.
    """
    if q.device.type != "cpu" or not q.requires_grad or q.shape[-2] > _SHORT or dropout:
        added = additive_mask(gate, bias, q.dtype)
        return F.scaled_dot_product_attention(q, k, v, added, dropout, causal)
    single, given = torch.promote_types(q.dtype, torch.float32), v.dtype
    q, k, v = (x.to(single) for x in (q, k, v))
    with torch.autocast("cpu", enabled=False):
        # An addend of another type would be misread in float64.
        added = additive_mask(gate, bias, single)
        return F.scaled_dot_product_attention(q, k, v, added, is_causal=causal).to(given)
