"""The library's entry: a pruned model from a plain one."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from tsdtp.models.causal_lm import PrunedCausalLM
from tsdtp.models.classifier import PrunedClassifier
from tsdtp.models.pruned import PrunedModel
from tsdtp.models.seq2seq import PrunedSeq2Seq
from tsdtp.models.texts import structural_ids
from tsdtp.pruning import TokenPruner, find_method, name_of


def prune(
    hf_model: PreTrainedModel,
    method: str | type[TokenPruner] = "ts_dtp",
    budget: float | None = None,
    *,
    execution: str | None = None,
    pooling: str | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    special_ids: Sequence[int] | None = None,
    auxiliary_weight: float = 0.1,
    blocks: int | None = None,
    **method_arguments,
) -> PrunedClassifier | PrunedSeq2Seq:
    """Wraps a Hugging Face classifier, encoder-decoder or language model so that it drops tokens.

    With a budget a new pruner keeps every token until its threshold is set: `tsdtp.calibrate` meets
    the budget on batches of training data. Without one the method's own arguments decide, at once.

    Args:
        hf_model: a `*ForSequenceClassification`, `*ForConditionalGeneration`, `*MTModel` or
            `*ForCausalLM` (`GPT2LMHeadModel`) model; its weights are shared, not copied.
        method: name of a pruning method, or a class of your own, see `tsdtp.pruning.find_method`.
        budget: fraction of the plain encoder's FLOPs to spend, or None.
        execution: see `PrunedModel`.
        pooling: of a classifier, see `PrunedClassifier`.
        tokenizer: of the model, which knows the special tokens.
        special_ids: token ids never dropped; default: the tokenizer's special ones but the unknown
            and the masked word, and without a tokenizer those that the model's config names. The
            first token is never dropped.
        auxiliary_weight: see `PrunedModel`.
        blocks: of the encoder's, how many are computed, from the first; None: all. Tokens and
            blocks may both go: the budget counts what is left of either.
        **method_arguments: of the method's class.

    Raises:
        ValueError: for what is no model with a head, an unknown architecture, method or argument,
            an impossible budget, or more blocks than there are.

    Example:
        >>> model = tsdtp.prune(hf_model, method="ts_dtp", budget=0.4, tokenizer=tokenizer)
        >>> model(input_ids=ids, attention_mask=mask).tokens_kept
    """
    check_plain(hf_model)
    arguments = dict(method_arguments) if budget is None else {**method_arguments, "budget": budget}
    pruner = build_pruner(find_method(method), hf_model, arguments, blocks)
    if special_ids is None and tokenizer is not None:
        special_ids = structural_ids(tokenizer)
    if special_ids is None:
        special_ids = special_of(hf_model, warn=bool(pruner.layers))
    settings = {"special_ids": special_ids, "auxiliary_weight": auxiliary_weight}
    if pooling is not None and hf_model.can_generate():
        raise ValueError(f"pooling={pooling!r}: of a classifier; valid for what writes is None")
    if hf_model.config.is_encoder_decoder:
        return PrunedSeq2Seq(hf_model, pruner, execution, **settings)
    if hf_model.can_generate():
        return PrunedCausalLM(hf_model, pruner, execution, **settings)
    return PrunedClassifier(hf_model, pruner, execution, pooling, **settings)


def check_plain(model: object) -> None:
    """Raises ValueError for what cannot be pruned because it is no model, or has another head."""
    if not isinstance(model, PreTrainedModel):
        raise ValueError(f"prune takes a model of transformers, not {type(model).__name__}")
    _warn_of_own_forward(type(model))
    names = [each.__name__ for each in type(model).__mro__]
    classifies = any(name.endswith("ForSequenceClassification") for name in names)
    if (model.config.is_encoder_decoder or not classifies) and not model.can_generate():
        raise ValueError(
            f"{type(model).__name__} neither classifies texts with an encoder nor writes; "
            "valid: what AutoModelForSequenceClassification (of an encoder or a decoder "
            "alone), AutoModelForSeq2SeqLM or AutoModelForCausalLM load"
        )


def _warn_of_own_forward(kind: type) -> None:
    """What a subclass does with the encoder's states, this library does not know."""
    if not kind.forward.__module__.startswith("transformers."):
        warnings.warn(
            f"{kind.__name__} has a forward of its own, which is not run: what is computed is that "
            "of its base in transformers; compare the answers of tsdtp.prune(model, 'none')",
            stacklevel=4,
        )


def special_of(model: PreTrainedModel, warn: bool) -> list[int]:
    """The special tokens that a model's config names, and where asked a warning for none."""
    names = ("bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id")
    ids = [getattr(model.config, name, None) for name in names]
    several = [i if isinstance(i, list) else [i] for i in ids]  # some models end in several ways
    known = [i for one in several for i in one if isinstance(i, int)]
    if warn and not known:
        warnings.warn(
            "the model does not say which tokens are special, so that all but the first may be "
            "dropped; prune(..., tokenizer=tokenizer) keeps [SEP] and the like",
            stacklevel=3,
        )
    return known


def check_blocks(blocks: int | None, there: int) -> int:
    """How many blocks are computed of those that are there; None: all.

    Raises:
        ValueError: for more than that, or none.
    """
    if blocks is None:
        return there
    if isinstance(blocks, bool) or not (isinstance(blocks, int) and 1 <= blocks <= there):
        raise ValueError(f"model.blocks={blocks}: valid are 1 to {there}, or null")
    return blocks


def build_pruner(
    cls: type[TokenPruner], model: PreTrainedModel, arguments: dict, blocks: int | None = None
) -> TokenPruner:
    """Builds a pruner that fits the model; an unknown argument is named with the valid ones."""
    parameters = inspect.signature(cls).parameters
    valid = [n for n in parameters if n not in ("num_layers", "hidden_size")]
    passes_on = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if not passes_on and (unknown := [name for name in arguments if name not in valid]):
        valid_names = ", ".join(valid) or "none"
        raise ValueError(
            f"{name_of(cls)} has no argument {', '.join(unknown)}; valid: {valid_names}"
        )
    config = model.config
    blocks = check_blocks(blocks, config.num_hidden_layers)
    try:
        return cls(blocks, config.hidden_size, **arguments)
    except TypeError as error:
        if not passes_on:
            raise
        raise ValueError(f"{name_of(cls)}: {error}") from error


def unprune(model: PrunedModel) -> PreTrainedModel:
    """The plain Hugging Face model inside, with the weights as they are now (shared, not copied).

    A translator or a language model keeps our attention function, which computes what torch's does
    and tells no attention weights; `set_attn_implementation` of the plain model sets another.

    Example:
        >>> tsdtp.unprune(tsdtp.prune(plain)) is plain
        True
    """
    return model.hf_model
