"""How the encoder blocks of encoder-decoder families split; their decoders stay as they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.models.blocks import Family


def _marian_embed(encoder, input_ids, token_type_ids, positions):
    places = encoder.embed_positions(input_ids.shape, position_ids=positions)
    x = encoder.embed_tokens(input_ids) * encoder.embed_scale + places
    return F.dropout(x, encoder.dropout, encoder.training)


def _bart_embed(encoder, input_ids, token_type_ids, positions):
    places = encoder.embed_positions(input_ids[None], position_ids=positions)[0]
    x = encoder.layernorm_embedding(encoder.embed_tokens(input_ids) + places)
    return F.dropout(x, encoder.dropout, encoder.training)


def _t5_embed(encoder, input_ids, token_type_ids, positions):
    return encoder.dropout(encoder.embed_tokens(input_ids))


def _bart_qkv(block, x):
    attention = block.self_attn
    return attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)


def _bart_residual(block, x, residual):
    return residual + F.dropout(x, block.dropout, block.training)


def _bart_inner(block, x):
    x = block.activation_fn(block.fc1(x))
    return block.fc2(F.dropout(x, block.activation_dropout, block.training))


def _bart_attention_output(block, context, residual):
    return _bart_residual(block, block.self_attn.out_proj(context), residual)


def _bart_family(
    embed: Callable, qkv: Callable, output: Callable, feed_forward: Callable, finish: Callable
) -> Family:
    return Family(
        layers=lambda encoder: encoder.layers,
        embed=embed,
        qkv=qkv,
        attention_output=output,
        feed_forward=feed_forward,
        attention_dropout=lambda block: block.self_attn.dropout,
        finish=finish,
    )


def _within_range(x: Tensor) -> Tensor:
    """In float16 sums that nothing normalises may overflow; transformers cuts them off as well."""
    if x.dtype != torch.float16:
        return x
    limit = torch.finfo(x.dtype).max - 1000
    return x.clamp(-limit, limit)


def _post_norm(embed: Callable) -> Family:
    """Normalised after each residual sum: Marian, BART."""
    return _bart_family(
        embed,
        _bart_qkv,
        lambda block, context, residual: block.self_attn_layer_norm(
            _bart_attention_output(block, context, residual)
        ),
        lambda block, x: block.final_layer_norm(_bart_residual(block, _bart_inner(block, x), x)),
        lambda encoder, x: x,
    )


def _pre_norm(embed: Callable) -> Family:
    """Normalised before each part, and once at the end: mBART."""
    return _bart_family(
        embed,
        lambda block, x: _bart_qkv(block, block.self_attn_layer_norm(x)),
        _bart_attention_output,
        lambda block, x: _within_range(
            _bart_residual(block, _bart_inner(block, block.final_layer_norm(x)), x)
        ),
        lambda encoder, x: encoder.layer_norm(x),
    )


def _t5_attention(block):
    return block.layer[0].SelfAttention


def _t5_qkv(block, x):
    attention = _t5_attention(block)
    x = block.layer[0].layer_norm(x)
    # T5 does not divide its scores by the root of the head size; attend() does.
    query = attention.q(x) * attention.key_value_proj_dim**0.5
    return query, attention.k(x), attention.v(x)


def _t5_attention_output(block, context, residual):
    return _within_range(residual + block.layer[0].dropout(_t5_attention(block).o(context)))


def _t5_relative_bias(encoder, longest):
    attention = _t5_attention(encoder.block[0])  # the first block's serves all of them
    device = attention.relative_attention_bias.weight.device
    buckets = attention._relative_position_bucket(
        torch.arange(1 - longest, longest, device=device),
        bidirectional=True,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    return [attention.relative_attention_bias(buckets)] * len(encoder.block)


SEQ2SEQ_FAMILIES: dict[str, Family] = {
    "marian": _post_norm(_marian_embed),
    "bart": _post_norm(_bart_embed),
    "mbart": _pre_norm(_bart_embed),
    "t5": Family(
        layers=lambda encoder: encoder.block,
        embed=_t5_embed,
        qkv=_t5_qkv,
        attention_output=_t5_attention_output,
        feed_forward=lambda block, x: _within_range(block.layer[-1](x)),
        attention_dropout=lambda block: _t5_attention(block).dropout,
        relative_bias=_t5_relative_bias,
        finish=lambda encoder, x: encoder.dropout(encoder.final_layer_norm(x)),
    ),
}
