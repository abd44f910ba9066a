"""Cross-attention to a source with gates: how a translation's loss reaches the pruner.

Hugging Face decoders take attention functions by name. This one weighs each source token with its
gate before the softmax is normalised, as self-attention does in masked execution; without gates,
and in a decoder's self-attention, it is torch's own attention.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tsdtp.attention.softmax import gated_softmax

GATED = "tsdtp_gated"  # its name among the attention implementations


def attend_to_source(
    module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    source_gate: Tensor | None = None,
    **settings,
) -> tuple[Tensor, None]:
    """An attention function as transformers calls it.

    Args:
        module: the attention module; causal in a decoder's self-attention.
        query: [B, H, N, D].
        key: [B, H, S, D].
        value: [B, H, S, D].
        attention_mask: as `sdpa_mask` makes it; where there are gates they tell the same.
        dropout: probability of dropping an attention weight.
        scaling: of the scores.
        source_gate: [B, S], weight of each source token in the softmax; 0 for padding.
        **settings: of torch's attention; `position_bias` is added to the scores.

    Returns:
        context [B, N, H, D], and no attention weights.
    """
    if source_gate is None or module.is_causal:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **settings
        )
    size = query.shape[-1]
    if scaling is not None:
        query = query * (scaling * size**0.5)  # gated_softmax divides by the root
    gate = source_gate[:, None, None, :]
    weights = gated_softmax(query, key, gate, settings.get("position_bias"))
    context = F.dropout(weights, dropout).to(value.dtype) @ value
    return context.transpose(1, 2).contiguous(), None


AttentionInterface.register(GATED, attend_to_source)
AttentionMaskInterface.register(GATED, sdpa_mask)
