"""How each family's block splits into attention and feed-forward, and what its head reads.

A family is one entry of `BERT_LIKE`, or of its like beside other blocks: a handful of small
functions over the modules that Hugging Face built, so the weights and their names stay where they
are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

Module = Any  # of transformers: an nn.Module whose attributes differ from family to family
Rotary = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # rotates queries and keys


@dataclass(frozen=True, kw_only=True)
class Family:
    """One architecture's pieces, all working on packed tokens [T, d].

    Attributes:
        layers: base model -> its blocks.
        embed: (base model, input_ids [T], token_type_ids [T] or None, positions [T]) -> [T, d].
        qkv: (block, x [T, d]) -> query, key, value, each [T, d].
        attention_output: (block, context [T, d], residual [T, d]) -> [T, d].
        feed_forward: (block, x [T, d]) -> [T, d].
        attention_dropout: block -> probability.
        relative_bias: (base model, longest sequence) -> for each block the bias of attention by
            relative position, see `tsdtp.attention.attend`, or None; None for families without.
        rotary: (base model, x [R, d], positions [T]) -> for each block what rotates its queries and
            keys [R, H, D] by those positions; None for families without.
        finish: (base model, x [..., d]) -> [..., d], what follows the last block.
        causal: whether a token sees itself and those before it alone.
        gated: whether the feed-forward has a gate, a third matrix product, and no config says so.
    """

    layers: Callable[[Module], Sequence[nn.Module]]
    embed: Callable[[Module, Tensor, Tensor | None, Tensor], Tensor]
    qkv: Callable[[Module, Tensor], tuple[Tensor, Tensor, Tensor]]
    attention_output: Callable[[Module, Tensor, Tensor], Tensor]
    feed_forward: Callable[[Module, Tensor], Tensor]
    attention_dropout: Callable[[Module], float]
    relative_bias: Callable[[Module, int], Sequence[Tensor | None]] | None = None
    rotary: Callable[[Module, Tensor, Tensor], Sequence[Rotary]] | None = None
    finish: Callable[[Module, Tensor], Tensor] = lambda base, x: x
    causal: bool = False
    gated: bool = False


AnyFamily = TypeVar("AnyFamily", bound=Family)


@dataclass(frozen=True, kw_only=True)
class ClassifierFamily(Family):
    """A family with a classification head.

    Attributes:
        head: (classifier, features [B, 1, d]) -> logits [B, C]; reads features[:, 0].
        pooling: what the head reads unless told otherwise.
    """

    head: Callable[[Module, Tensor], Tensor]
    pooling: str = "cls"


def _bert_embed(base, input_ids, token_type_ids, positions):
    types = torch.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    return base.embeddings(
        input_ids[None], token_type_ids=types[None], position_ids=positions[None]
    )[0]


def _roberta_embed(base, input_ids, token_type_ids, positions):
    """Positions go from the padding index on, and do not count padding tokens within a text."""
    padding = base.embeddings.padding_idx
    words = (input_ids != padding).long()
    first = torch.arange(positions.shape[0], device=positions.device) - positions  # of each text
    counted = words.cumsum(0)
    counted = counted - (counted - words)[first]
    return _bert_embed(base, input_ids, token_type_ids, padding + counted * words)


def _electra_embed(base, input_ids, token_type_ids, positions):
    x = _bert_embed(base, input_ids, token_type_ids, positions)
    return base.embeddings_project(x) if hasattr(base, "embeddings_project") else x


def _distilbert_embed(base, input_ids, token_type_ids, positions):
    return base.embeddings(input_ids[None], position_ids=positions[None])[0]


def _bert_qkv(block, x):
    attention = block.attention.self
    return attention.query(x), attention.key(x), attention.value(x)


def _bert_feed_forward(block, x):
    return block.output(block.intermediate(x), x)


def _bert_head(classifier, features):
    pooled = classifier.bert.pooler(features)
    return classifier.classifier(classifier.dropout(pooled))


def _distilbert_qkv(block, x):
    attention = block.attention
    return attention.q_lin(x), attention.k_lin(x), attention.v_lin(x)


def _distilbert_attention_output(block, context, residual):
    return block.sa_layer_norm(block.attention.out_lin(context) + residual)


def _distilbert_feed_forward(block, x):
    return block.output_layer_norm(block.ffn(x) + x)


def _distilbert_head(classifier, features):
    pooled = classifier.pre_classifier(features[:, 0]).relu()
    return classifier.classifier(classifier.dropout(pooled))


def _bert_like(embed: Callable, head: Callable) -> ClassifierFamily:
    return ClassifierFamily(
        layers=lambda base: base.encoder.layer,
        embed=embed,
        qkv=_bert_qkv,
        attention_output=lambda block, context, residual: block.attention.output(context, residual),
        feed_forward=_bert_feed_forward,
        attention_dropout=lambda block: block.attention.self.dropout.p,
        head=head,
    )


def _own_head(classifier, features):
    return classifier.classifier(features)


ROBERTA_LIKE = ("roberta", "xlm-roberta", "camembert")  # one architecture, in three languages
BERT_LIKE: dict[str, ClassifierFamily] = {
    "bert": _bert_like(_bert_embed, _bert_head),
    **dict.fromkeys(ROBERTA_LIKE, _bert_like(_roberta_embed, _own_head)),
    "electra": _bert_like(_electra_embed, _own_head),
    "distilbert": ClassifierFamily(
        layers=lambda base: base.transformer.layer,
        embed=_distilbert_embed,
        qkv=_distilbert_qkv,
        attention_output=_distilbert_attention_output,
        feed_forward=_distilbert_feed_forward,
        attention_dropout=lambda block: block.attention.dropout.p,
        head=_distilbert_head,
    ),
}


# Settings of a config that change what a block computes, in ways that the families do not follow.
_NOT_FOLLOWED = {
    "is_decoder": True,
    "scale_attn_by_inverse_layer_idx": True,
    "scale_attn_weights": False,
    "use_sliding_window": True,
}
# Ways to stretch rotary positions that go by the longest text of a batch.
_OF_THE_BATCH = {"dynamic", "longrope"}


def find_family(config: PreTrainedConfig, families: Mapping[str, AnyFamily]) -> AnyFamily:
    """The family of a Hugging Face config, by its `model_type`.

    Raises:
        ValueError: for an architecture without an entry, or a setting of it that the entry does
            not follow; says what is valid.
    """
    if config.model_type not in families:
        valid = ", ".join(families)
        raise ValueError(f"model type {config.model_type!r} cannot be pruned yet; valid: {valid}")
    for name, value in _NOT_FOLLOWED.items():
        if getattr(config, name, None) == value:
            raise ValueError(
                f"{config.model_type} with {name}={value} cannot be pruned yet; valid: {not value}"
            )
    if kinds := _rope_types(config) & _OF_THE_BATCH:
        raise ValueError(
            f"{config.model_type} with rope_type={', '.join(sorted(kinds))} cannot be pruned yet: "
            "it turns tokens by the longest text of a batch; valid: default, linear, llama3, yarn"
        )
    return families[config.model_type]


def _rope_types(config: PreTrainedConfig) -> set[str]:
    """How rotary positions are stretched; ModernBERT says it for each kind of block."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(each for each in rope.values() if isinstance(each, Mapping))]
    return {each["rope_type"] for each in kinds if each.get("rope_type")}
