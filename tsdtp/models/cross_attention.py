"""Cross-attention to a source whose tokens weigh differently.

By gates a translation's loss reaches the pruner, and a token that others were merged into counts
for as many. Hugging Face decoders take attention functions by name. This one weighs each source
token before the softmax is normalised, as self-attention does in the encoder; without weights, and
in a decoder's self-attention, it is torch's own attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask
from transformers.modeling_outputs import BaseModelOutput

from tsdtp.attention.softmax import additive_mask, gated_softmax

WEIGHED = "tsdtp_weighed"  # its name among the attention implementations


@dataclass
class WeighedSource(BaseModelOutput):
    """An encoder's output; `generate` repeats it for each beam with all that is in it.

    Attributes:
        last_hidden_state: [B, K, d] on a grid, K the longest source that is left.
        weights: [B, K], what each token weighs in a softmax, 0 for padding; None: all the same.
    """

    weights: Tensor | None = None


def weigh_source(model, args: tuple, inputs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Hands the weights of `encoder_outputs` to the attention: a hook before a model's forward."""
    weights = getattr(inputs.get("encoder_outputs"), "weights", None)
    return args, inputs if weights is None else {**inputs, "source_weights": weights}


def attend_to_source(
    module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    source_weights: Tensor | None = None,
    **settings,
) -> tuple[Tensor, None]:
    """An attention function as transformers calls it.

    Args:
        module: the attention module; causal in a decoder's self-attention.
        query: [B, H, N, D].
        key: [B, H, S, D].
        value: [B, H, S, D].
        attention_mask: as `sdpa_mask` makes it; where there are weights they tell the same.
        dropout: probability of dropping an attention weight.
        scaling: of the scores.
        source_weights: [B, S], see `WeighedSource`.
        **settings: of torch's attention; `position_bias` is added to the scores.

    Returns:
        context [B, N, H, D], and no attention weights.
    """
    gate = None if source_weights is None or module.is_causal else source_weights[:, None, None, :]
    if gate is not None and not gate.requires_grad:
        attention_mask, gate = additive_mask(gate, None, query.dtype), None
    if gate is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, **settings
        )
    size = query.shape[-1]
    if scaling is not None:
        query = query * (scaling * size**0.5)  # gated_softmax divides by the root
    weights = gated_softmax(query, key, gate, settings.get("position_bias"))
    context = F.dropout(weights, dropout).to(value.dtype) @ value
    return context.transpose(1, 2).contiguous(), None


AttentionInterface.register(WEIGHED, attend_to_source)
AttentionMaskInterface.register(WEIGHED, sdpa_mask)
