"""torch's variable-length flash attention (CUDA, half precision).

Written against the documented interface of torch 2.10 and later; run with 2.11 on an H100.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from tsdtp.attention import padded
from tsdtp.attention.softmax import Attention

_KNOWN = signature(varlen_attn).parameters
# One split keeps a sequence's result the same whatever its batch-mates; torch before 2.12 never
# splits, and does not know the argument.
_ONE_SPLIT: dict[str, Any] = {"num_splits": 1} if "num_splits" in _KNOWN else {}
_CAUSAL: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in _KNOWN else {}

_MAX_HEAD_SIZE = 256  # of the flash kernels


def serves(
    query: Tensor,
    gate: Tensor | None,
    received: bool,
    dropout: float,
    bias: Tensor | None,
    causal: bool,
) -> bool:
    """Whether the kernel can: it takes no bias and shows no probabilities."""
    if gate is not None or received or dropout or bias is not None or (causal and not _CAUSAL):
        return False
    if query.device.type != "cuda" or query.dtype not in (torch.float16, torch.bfloat16):
        return False
    size, capability = query.shape[-1], torch.cuda.get_device_capability(query.device)
    return size <= _MAX_HEAD_SIZE and size % 8 == 0 and capability >= (8, 0)


def attend(query, key, value, layout, gate, received, dropout, bias, causal) -> Attention:
    """See `tsdtp.attention.attend`; what the kernel cannot serve goes to the padded back end."""
    if not serves(query, gate, received, dropout, bias, causal):
        return padded.attend(query, key, value, layout, gate, received, dropout, bias, causal)
    tokens, longest = layout.size, layout.max_seqlen
    offsets = layout.offsets
    q, k, v = (x[:tokens].contiguous() for x in (query, key, value))
    settings = {**_ONE_SPLIT, **(_CAUSAL if causal else {})}
    context = varlen_attn(q, k, v, offsets, offsets, longest, longest, **settings)
    assert isinstance(context, Tensor)
    dead = len(query) - tokens
    return F.pad(context, (0, 0, 0, 0, 0, dead)) if dead else context, None
