"""torch's variable-length flash attention (CUDA, half precision).

Written against the documented interface of torch 2.10 and later; run with 2.11 on an H100.
"""

from __future__ import annotations

from inspect import signature
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.attention import padded
from tsdtp.attention.softmax import Attention

try:  # torch before 2.10 has no such module
    from torch.nn.attention.varlen import varlen_attn
except ImportError:
    varlen_attn = None

_KNOWN = signature(varlen_attn).parameters if varlen_attn is not None else {}
# One split keeps a sequence's result the same whatever its batch-mates; torch before 2.12 never
# splits, and does not know the argument.
_ONE_SPLIT: dict[str, Any] = {"num_splits": 1} if "num_splits" in _KNOWN else {}
_CAUSAL: dict[str, Any] = {"window_size": (-1, 0)} if "window_size" in _KNOWN else {}

_MAX_HEAD_SIZE = 256  # of the flash kernels


def obstacle(
    query: Tensor,
    gate: Tensor | None,
    received: bool,
    dropout: float,
    bias: Tensor | None = None,
    causal: bool = False,
) -> str | None:
    """Why the kernel cannot serve, or None if it can."""
    if varlen_attn is None:
        return "torch has no torch.nn.attention.varlen"
    if query.device.type != "cuda" or query.dtype not in (torch.float16, torch.bfloat16):
        return f"it needs float16 or bfloat16 on CUDA, not {query.dtype} on {query.device.type}"
    if query.shape[-1] > _MAX_HEAD_SIZE or query.shape[-1] % 8:
        return f"head size {query.shape[-1]} is not a multiple of 8 up to {_MAX_HEAD_SIZE}"
    if torch.cuda.get_device_capability(query.device) < (8, 0):
        return "the GPU is older than compute capability 8.0"
    if gate is not None or received or dropout or bias is not None:
        return "it takes no bias; gates, received attention and dropout need the probabilities"
    if causal and not _CAUSAL:
        return "torch's kernel is of a version that hides no key"
    return None


def attend(query, key, value, layout, gate, received, dropout, bias, causal) -> Attention:
    """See `tsdtp.attention.attend`; what the kernel cannot serve goes to the padded back end."""
    if obstacle(query, gate, received, dropout, bias, causal):
        return padded.attend(query, key, value, layout, gate, received, dropout, bias, causal)
    assert varlen_attn is not None
    tokens, longest = layout.size, layout.max_seqlen
    offsets = layout.offsets
    q, k, v = (x[:tokens].contiguous() for x in (query, key, value))
    settings = {**_ONE_SPLIT, **(_CAUSAL if causal else {})}
    context = varlen_attn(q, k, v, offsets, offsets, longest, longest, **settings)
    assert isinstance(context, Tensor)
    dead = len(query) - tokens
    return F.pad(context, (0, 0, 0, 0, 0, dead)) if dead else context, None
