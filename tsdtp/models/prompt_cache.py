"""The cache of a pruned prompt: keys and values of the tokens that each block still saw.

Every block has a number of its own, for every sequence, where transformers has one mask for all. So
each block's part of the cache says with its keys which of them are alive, and an attention function
under a name of its own asks them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface, DynamicCache
from transformers.cache_utils import DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tsdtp.models.encoder import BlockKeyValues
from tsdtp.packing import Packed, unpack

BY_BLOCK = "tsdtp_by_block"  # its name among the attention implementations


class PromptLayer(DynamicLayer):
    """A block's keys and values, and which are alive; those added later all are.

    Args:
        key: [B, H, K, D].
        value: [B, H, K, D].
        live: [B, K] bool.
    """

    def __init__(self, key: Tensor, value: Tensor, live: Tensor) -> None:
        super().__init__()
        super().update(key, value)
        self.live = live

    def update(self, key_states: Tensor, value_states: Tensor, *args, **kwargs):
        """Adds new tokens; the keys given back carry `live` [B, K] as an attribute."""
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        self.live = pad(self.live, (0, key_states.shape[-2]), value=True)
        keys.live = self.live  # pyright: ignore
        return keys, values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorders for a beam search."""
        super().reorder_cache(beam_idx)  # pyright: ignore
        self.live = self.live[beam_idx]

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats every sequence."""
        super().batch_repeat_interleave(repeats)
        self.live = self.live.repeat_interleave(repeats, 0)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keeps some of the sequences."""
        super().batch_select_indices(indices)
        self.live = self.live[indices]


def prompt_cache(blocks: list[BlockKeyValues], heads: int, width: int) -> DynamicCache:
    """A cache that `generate` goes on from.

    Args:
        blocks: what each block attended to, from the first on.
        heads: of keys and values; where queries share them, only the first copy is kept.
        width: of the padded prompt, which transformers takes for the first block's.
    """
    cache = DynamicCache()
    for block in blocks:
        tokens = block.layout.size
        both = torch.stack([block.key[:tokens], block.value[:tokens]], 1)
        both = both[:, :, :: both.shape[2] // heads]
        grid, _ = unpack(Packed(both, block.layout))  # [B, K, 2, H, D]
        live, _ = unpack(Packed(block.alive, block.layout))
        if not cache.layers:
            missing = width - grid.shape[1]
            grid, live = pad(grid, (0, 0) * 3 + (0, missing)), pad(live, (0, missing))
        key, value = grid.permute(2, 0, 3, 1, 4)
        cache.layers.append(PromptLayer(key, value, live))
    return cache


def attend_to_prompt(
    module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **settings
):
    """An attention function as transformers calls it: torch's, with the mask that the keys carry.

    Args:
        module: the attention module.
        query: [B, H, N, D]; N is 1 where the keys carry a mask.
        key: [B, H, K, D], with or without `live` [B, K].
        value: [B, H, K, D].
        attention_mask: as `sdpa_mask` makes it; not looked at where the keys carry one.
        **settings: of torch's attention.

    Returns:
        context [B, N, H, D], and no attention weights.
    """
    live = getattr(key, "live", None)
    if live is not None:
        attention_mask = live[:, None, None, :]
    return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)


AttentionInterface.register(BY_BLOCK, attend_to_prompt)
AttentionMaskInterface.register(BY_BLOCK, sdpa_mask)
