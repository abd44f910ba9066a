"""How the blocks of families with rotary positions split: ModernBERT; Llama, Qwen2, Qwen3."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb as rotate_llama
from transformers.models.modernbert.modeling_modernbert import (
    apply_rotary_pos_emb as rotate_modernbert,
)

from tsdtp.models.blocks import ClassifierFamily


def apply_rotary(
    rotate: Callable, angles: tuple[Tensor, Tensor], query: Tensor, key: Tensor
) -> tuple[Tensor, Tensor]:
    """Query and key [R, H, D], rotated by their original positions (Su et al., RoFormer, 2021).

    Args:
        rotate: the family's function, as transformers has it.
        angles: cosine and sine [1, T, D]; rows beyond them are dead, and stay as they are.
        query: [R, H, D].
        key: [R, H, D].
    """
    cosine, sine = angles[0][0], angles[1][0]
    live = cosine.shape[0]
    pair = rotate(query[:live], key[:live], cosine, sine, unsqueeze_dim=1)
    if live == query.shape[0]:
        return pair
    dead = (query[live:], key[live:])
    return torch.cat([pair[0], dead[0]]), torch.cat([pair[1], dead[1]])


def _modernbert_qkv(block, x):
    return block.attn.Wqkv(block.attn_norm(x)).chunk(3, -1)


def _modernbert_bias(base, longest):
    """Local blocks see so many tokens to each side."""
    config = base.config
    distance = torch.arange(1 - longest, longest, device=base.final_norm.weight.device)
    far = distance[:, None].abs() > config.sliding_window
    local = torch.zeros_like(far, dtype=torch.float32).masked_fill(far, float("-inf"))
    exporting = torch.compiler.is_exporting()  # a program for texts of any length
    near = not exporting and longest <= config.sliding_window + 1  # nothing is far
    kinds = [block.attention_type for block in base.layers]
    return [None if near or kind == "full_attention" else local for kind in kinds]


def _modernbert_rotary(base, x, positions):
    kinds = [block.attention_type for block in base.layers]
    angles = {kind: base.rotary_emb(x, positions[None], kind) for kind in dict.fromkeys(kinds)}
    return [partial(apply_rotary, rotate_modernbert, angles[kind]) for kind in kinds]


def _modernbert_head(classifier, features):
    return classifier.classifier(classifier.drop(classifier.head(features[:, 0])))


def _llama_qkv(block, x):
    """Keys and values are shared by groups of queries; each query gets its own copy."""
    attention = block.self_attn
    x = block.input_layernorm(x)
    query, key, value = (_heads(attention, name, x) for name in "qkv")
    key, value = (y.repeat_interleave(attention.num_key_value_groups, -2) for y in (key, value))
    return query.flatten(-2), key.flatten(-2), value.flatten(-2)


def _heads(attention, name: str, x: Tensor) -> Tensor:
    """[T, H, D] queries, keys or values; Qwen3 normalises the first two in each head."""
    heads = getattr(attention, f"{name}_proj")(x).unflatten(-1, (-1, attention.head_dim))
    norm = getattr(attention, f"{name}_norm", None)
    return heads if norm is None else norm(heads)


def _llama_feed_forward(block, x):
    return x + block.mlp(block.post_attention_layernorm(x))


def _llama_rotary(base, x, positions):
    rotate = partial(apply_rotary, rotate_llama, base.rotary_emb(x, positions[None]))
    return [rotate] * len(base.layers)


def _token_embed(base, input_ids, token_type_ids, positions):
    return base.embed_tokens(input_ids)


_LLAMA = ClassifierFamily(
    layers=lambda base: base.layers,
    embed=_token_embed,
    qkv=_llama_qkv,
    attention_output=lambda block, context, residual: residual + block.self_attn.o_proj(context),
    feed_forward=_llama_feed_forward,
    attention_dropout=lambda block: block.self_attn.attention_dropout,
    rotary=_llama_rotary,
    finish=lambda base, x: base.norm(x),
    causal=True,
    gated=True,
    head=lambda classifier, features: classifier.score(features[:, 0]),
    pooling="last",
)

ROTARY_FAMILIES: dict[str, ClassifierFamily] = {
    "modernbert": ClassifierFamily(
        layers=lambda base: base.layers,
        embed=lambda base, input_ids, token_type_ids, positions: base.embeddings(input_ids[None])[
            0
        ],
        qkv=_modernbert_qkv,
        attention_output=lambda block, context, residual: (
            residual + block.attn.out_drop(block.attn.Wo(context))
        ),
        feed_forward=lambda block, x: x + block.mlp(block.mlp_norm(x)),
        attention_dropout=lambda block: block.attn.attention_dropout,
        relative_bias=_modernbert_bias,
        rotary=_modernbert_rotary,
        finish=lambda base, x: base.final_norm(x),
        gated=True,
        head=_modernbert_head,
    ),
    **dict.fromkeys(("llama", "qwen2", "qwen3"), _LLAMA),
}
