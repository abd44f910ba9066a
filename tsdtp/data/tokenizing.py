"""Tokenising, once: a plain function for `datasets.map` and a key that a second run finds again.

`datasets` derives its cache key by pickling the function and its arguments, which misses for bound
methods, for closures, and for a tokenizer that was called in between (a call stores truncation
settings in it). So the key is made here, from content.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import BatchEncoding, PreTrainedTokenizerBase

from tsdtp.models.texts import structural_ids, was_cut

if TYPE_CHECKING:
    from datasets import Dataset

# Part of the fingerprint: raise it when what the functions below return changes.
VERSION = 5


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of what the tokenizer does, not of the settings that calling it leaves behind."""
    if tokenizer.is_fast:
        content = json.loads(tokenizer.backend_tokenizer.to_str())  # pyright: ignore
        content = {key: content[key] for key in content if key not in ("truncation", "padding")}
    else:
        content = sorted(tokenizer.get_vocab().items())
    state = [
        type(tokenizer).__name__,
        content,
        sorted(tokenizer.special_tokens_map.items()),
        tokenizer.model_input_names,
        tokenizer.truncation_side,
    ]
    return hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()


def encode_batch(
    batch: dict[str, list[Any]],
    indices: list[int],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
) -> dict[str, list[Any]]:
    """Tokenises a batch of rows, truncated to `max_length` tokens.

    Args:
        batch: columns `text`, `label` and perhaps `text_pair`, `decisive`, `decisive_pair`.
        indices: the rows' numbers in their split.
        tokenizer: any; a fast one if the rows have `decisive`.
        max_length: limit in tokens, special tokens included.

    Returns:
        Columns `input_ids`, `length`, `label`, `index`, `token_type_ids` (if the tokenizer makes
        them), `cut` (whether the row was truncated), and per-token `decisive` (if the rows have
        it).

    Raises:
        ValueError: for a text without a token, as a tokenizer without special ones leaves of none.
    """
    words = "decisive" in batch
    columns = [batch[name] for name in ("text", "text_pair") if name in batch]
    if words:
        columns = [[text.split() for text in column] for column in columns]
    encoded = tokenizer(
        columns[0],
        columns[1] if len(columns) == 2 else None,
        truncation=True,
        max_length=max_length,
        is_split_into_words=words,
    )
    out = {name: encoded[name] for name in ("input_ids", "token_type_ids") if name in encoded}
    out["length"] = [len(ids) for ids in out["input_ids"]]
    if 0 in out["length"]:
        raise ValueError(f"row {indices[out['length'].index(0)]} (from 0): a text without a token")
    rows = zip(out["length"], zip(*columns, strict=True), strict=True)
    out["cut"] = [was_cut(length, max_length, tokenizer, texts, words) for length, texts in rows]
    out["label"] = batch["label"]
    out["index"] = indices
    if words:
        flags = zip(batch["decisive"], batch.get("decisive_pair", batch["decisive"]), strict=True)
        out["decisive"] = [token_flags(encoded, row, pair) for row, pair in enumerate(flags)]
    return out


def token_flags(encoded: BatchEncoding, row: int, flags: tuple[list[int], ...]) -> list[int]:
    """Spreads per-word flags of each segment over the tokens of a row; special tokens get 0."""
    places = zip(encoded.sequence_ids(row), encoded.word_ids(row), strict=True)
    return [
        0 if segment is None or word is None else flags[segment][word] for segment, word in places
    ]


def encode_pairs(
    batch: dict[str, list[Any]],
    indices: list[int],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    prefix: str = "",
    language_tokens: Sequence[str] | None = None,
) -> dict[str, list[Any]]:
    """Tokenises a batch of sentence pairs, each side truncated to `max_length` tokens.

    The special tokens at the end of a truncated side stay.

    Args:
        batch: columns `source`, `target` and perhaps `decisive`, a 0/1 per word of the source.
        indices: the rows' numbers in their split.
        tokenizer: any; a fast one if the rows have `decisive`.
        max_length: limit in tokens, special tokens included.
        prefix: text before each source, as T5 is told its task.
        language_tokens: of source and target, as mBART is told them.

    Returns:
        Columns `input_ids`, `labels`, `length` and `target_length` in tokens,
        `target_whole_length` before it was truncated, `cut` and `target_cut` (whether source and
        target were), `index`, and per-token `decisive` (if the rows have it).
    """
    words = "decisive" in batch
    if language_tokens is not None:
        tokenizer.src_lang, tokenizer.tgt_lang = language_tokens  # pyright: ignore
    sources = [prefix + text for text in batch["source"]]
    encoded = tokenizer(
        [text.split() for text in sources] if words else sources,
        is_split_into_words=words,
        verbose=False,  # what is too long is cut below
    )
    targets = tokenizer(text_target=batch["target"], verbose=False)["input_ids"]
    special = set(structural_ids(tokenizer))
    places = [_places(ids, max_length, special) for ids in encoded["input_ids"]]
    ids = [_at(row, place) for row, place in zip(encoded["input_ids"], places, strict=True)]
    labels = [_at(row, _places(row, max_length, special)) for row in targets]
    out = {
        "input_ids": ids,
        "labels": labels,
        "length": [len(row) for row in ids],
        "target_length": [len(row) for row in labels],
        "target_whole_length": [len(row) for row in targets],
        "cut": [len(row) > max_length for row in encoded["input_ids"]],
        "target_cut": [len(row) > max_length for row in targets],
        "index": indices,
    }
    if words:
        before = [0] * len(prefix.split())
        flags = [(before + row,) for row in batch["decisive"]]
        whole = [token_flags(encoded, row, pair) for row, pair in enumerate(flags)]
        out["decisive"] = [_at(row, place) for row, place in zip(whole, places, strict=True)]
    return out


def _places(ids: list[int], limit: int, special: set[int]) -> list[int]:
    """Which tokens stay of a sequence: the first ones, and the special ones that end it."""
    if len(ids) <= limit:
        return list(range(len(ids)))
    end = next((n for n, token in enumerate(reversed(ids)) if token not in special), 0)
    return [*range(limit - end), *range(len(ids) - end, len(ids))]


def _at(row: list[int], places: list[int]) -> list[int]:
    return [row[place] for place in places]


def encode(
    dataset: "Dataset",
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    cache_dir: Path,
    function: Callable[..., dict[str, list[Any]]] | None = None,
    **settings: Any,
) -> "Dataset":
    """Tokenises a data set, or reads what an earlier run stored under the same content.

    Args:
        dataset: rows as the function takes them.
        tokenizer: see `encode_batch`.
        max_length: see `encode_batch`.
        cache_dir: folder of the Arrow files; made if absent.
        function: `encode_pairs`, or None for `encode_batch`.
        **settings: further arguments of the function.

    Raises:
        ValueError: if the rows have `decisive` and the tokenizer is not a fast one.
    """
    if "decisive" in dataset.column_names and not tokenizer.is_fast:
        raise ValueError(
            f"word-level truth needs a fast tokenizer, but {type(tokenizer).__name__} is not one"
        )
    function = function or encode_batch
    key = [dataset._fingerprint, tokenizer_digest(tokenizer), max_length, VERSION]
    key += [function.__name__, settings]
    fingerprint = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    cache_dir.mkdir(parents=True, exist_ok=True)
    return dataset.map(
        function,
        batched=True,
        with_indices=True,
        remove_columns=dataset.column_names,
        fn_kwargs={"tokenizer": tokenizer, "max_length": max_length, **settings},
        new_fingerprint=fingerprint,
        cache_file_name=str(cache_dir / f"{fingerprint}.arrow"),
        load_from_cache_file=True,
        desc="Tokenising",
    )
