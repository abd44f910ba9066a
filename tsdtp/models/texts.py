"""Texts as the padded batches that a model reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedTokenizerBase

from tsdtp.models.modes import takes
from tsdtp.pruning.base import check_count

if TYPE_CHECKING:
    from tsdtp.models.pruned import PrunedModel

Text = str | tuple[str, str]
T = TypeVar("T")
Batch = Mapping[str, Tensor]
IGNORED = -100  # a label that is none, as transformers has it
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


def inputs_of(batch: Batch, device: torch.device | None = None) -> dict[str, Tensor]:
    """What an encoder reads of a batch, on a device or where it is."""
    return {name: batch[name].to(device=device) for name in INPUTS if name in batch}


def attribution_inputs(batch: Batch) -> dict[str, Tensor]:
    """What `layer_conductance` takes of a batch: the encoder's inputs, and labels if any."""
    return {name: batch[name] for name in (*INPUTS, "labels") if name in batch}


def was_cut(
    length: int,
    limit: int,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str | list[str]],
    words: bool = False,
) -> bool:
    """Whether a text, or a pair, was longer than the limit and has been truncated to it.

    Args:
        length: in tokens, as truncated; what does not fill the limit is not tokenised again.
        limit: in tokens.
        tokenizer: that made them.
        texts: one, or two of a pair.
        words: whether they are lists of words.
    """
    if length < limit:
        return False
    text, pair = (*texts, None)[:2]
    whole = tokenizer(text, pair, verbose=False, is_split_into_words=words)["input_ids"]
    return len(cast(list[int], whole)) > limit


def batches_of(
    data: Iterable[Batch] | Iterable[Text],
    tokenizer: PreTrainedTokenizerBase | None,
    model: PrunedModel,
    batch_size: int = 32,
) -> list[Batch]:
    """The batches themselves; or texts, with their tokenizer, as batches for the model.

    Args:
        data: batches, which need no tokenizer, or texts.
        tokenizer: of the texts.
        model: that is to read them, on its device.
        batch_size: of texts.

    Raises:
        ValueError: for no data, one batch alone, batches of none, texts without a tokenizer, or
            what `tokenised` refuses.
    """
    batches = list(check_not_single(data))
    if tokenizer is not None and not any(isinstance(each, Mapping) for each in batches):
        texts = cast(list[Text], batches)
        made = tokenised(texts, tokenizer, batch_size, model.max_positions)
        given = [inputs_of(batch.to(model.device)) for batch in made]
        # A translator takes no token types, whatever its tokenizer gives.
        batches = [{k: v for k, v in batch.items() if takes(model, k)} for batch in given]
    if not batches:
        raise ValueError("no data; valid: batches, or texts and a tokenizer")
    if not isinstance(batches[0], Mapping):
        raise ValueError("texts need their tokenizer: tokenizer=...")
    if not isinstance(batches[0].get("input_ids"), Tensor):
        valid = "tensors of input_ids and attention_mask; of a data set its column of texts"
        raise ValueError(f"no batch: {{{', '.join(map(str, batches[0]))}}}; valid: {valid}")
    return cast(list[Batch], batches)


def check_not_single(data: Iterable[T]) -> Iterable[T]:
    """Raises ValueError for one str or batch, whose letters or keys would be taken for texts."""
    if isinstance(data, str):
        raise ValueError("texts are a list of str (or of pairs of them), not one str")
    if isinstance(data, Mapping):
        raise ValueError("data are a list of texts or of batches, not one dict; valid: [batch]")
    return data


def check_text(text: Text) -> Text:
    """The text itself.

    Raises:
        ValueError: it is no string (or pair of strings), empty, holds a NUL character, or what is
            no character at all (half of a surrogate pair, as from bytes that are not UTF-8).
    """
    if isinstance(text, tuple) and len(text) != 2:
        raise ValueError(f"a tuple of {len(text)} texts; valid: a str, or a pair")
    for part in text if isinstance(text, tuple) else (text,):
        if not isinstance(part, str):
            raise ValueError(
                f"a text is a str, or a pair of them as a tuple, not {type(part).__name__}"
            )
        if not part.strip():
            raise ValueError("an empty text has nothing to read; leave it out")
        if "\0" in part:
            raise ValueError(f"a text with a NUL character: {part[:40]!r}")
        try:
            part.encode()
        except UnicodeEncodeError:
            raise ValueError(f"a text that is not UTF-8: {part[:40]!r}") from None
    return text


def tokenised(
    texts: Iterable[Text],
    tokenizer: PreTrainedTokenizerBase,
    batch_size: int = 32,
    max_length: int | None = None,
) -> Iterator[BatchEncoding]:
    """Texts (or pairs) as padded batches in their order, each text checked and cut to the limit.

    Args:
        texts: any number; read batch by batch.
        tokenizer: of the model.
        batch_size: texts in a batch.
        max_length: in tokens, special tokens included; the tokenizer's own limit holds as well;
            512 where neither is known.

    Raises:
        ValueError: for what `check_text` refuses, a limit that leaves no room for words, or a
            batch_size below 1.
    """
    check_count("batch_size", batch_size, of="")
    source = iter(check_not_single(texts))
    limit = check_room(tokenizer, length_limit(tokenizer, max_length))
    while chunk := [check_text(text) for text in islice(source, batch_size)]:
        yield tokenizer(
            cast(list[str], chunk),
            padding=True,
            truncation=True,
            max_length=limit,
            return_tensors="pt",
        )


def check_room(tokenizer: PreTrainedTokenizerBase, limit: int) -> int:
    """The limit in tokens itself; raises ValueError for one that leaves no room for words."""
    if limit < (least := tokenizer.num_special_tokens_to_add(pair=True) + 1):
        raise ValueError(f"max_length={limit}: valid is {least} or more")
    return limit


def structural_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokens that structure a sequence; unknown and masked words are words.

    GPT-2 has one token for everything, the unknown word included: it stays.
    """
    names = ("bos", "eos", "cls", "sep", "pad")
    structure = [getattr(tokenizer, f"{name}_token_id") for name in names]
    words = (tokenizer.unk_token_id, tokenizer.mask_token_id)
    return [i for i in tokenizer.all_special_ids if i in structure or i not in words]


def mask_id_of(tokenizer: PreTrainedTokenizerBase | None) -> int:
    """The token that says nothing: the mask, or what comes next to it.

    Raises:
        ValueError: there is none.
    """
    names = ("mask_token_id", "unk_token_id", "pad_token_id")
    for name in names:
        if (found := getattr(tokenizer, name, None)) is not None:
            return found
    raise ValueError(f"mask_id: needed where no tokenizer tells one of {', '.join(names)}")


def length_limit(tokenizer: PreTrainedTokenizerBase, *others: int | None) -> int:
    """Tokens of a text at most, by the tokenizer and by others; 512 where nobody knows."""
    own = tokenizer.model_max_length
    known = (own if own < 1_000_000 else None, *others)
    return min((limit for limit in known if limit is not None), default=512)
