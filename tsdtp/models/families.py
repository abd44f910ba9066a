"""Every family of classifiers, by the `model_type` of its Hugging Face config."""

from __future__ import annotations

from tsdtp.models.blocks import BERT_LIKE, ClassifierFamily
from tsdtp.models.rotary_blocks import ROTARY_FAMILIES


def _gpt2_embed(base, input_ids, token_type_ids, positions):
    x = base.wte(input_ids) + base.wpe(positions)
    return base.drop(x if token_type_ids is None else x + base.wte(token_type_ids))


def _gpt2_attention_output(block, context, residual):
    return residual + block.attn.resid_dropout(block.attn.c_proj(context))


_GPT2 = ClassifierFamily(
    layers=lambda base: base.h,
    embed=_gpt2_embed,
    qkv=lambda block, x: block.attn.c_attn(block.ln_1(x)).chunk(3, -1),
    attention_output=_gpt2_attention_output,
    feed_forward=lambda block, x: x + block.mlp(block.ln_2(x)),
    attention_dropout=lambda block: block.attn.attn_dropout.p,
    finish=lambda base, x: base.ln_f(x),
    causal=True,
    head=lambda classifier, features: classifier.score(features[:, 0]),
    pooling="last",
)

FAMILIES: dict[str, ClassifierFamily] = {**BERT_LIKE, **ROTARY_FAMILIES, "gpt2": _GPT2}
