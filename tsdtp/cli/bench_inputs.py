"""What a benchmark feeds its candidates: the task's batches, their texts, or random tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch

from tsdtp.cli.build import Cell
from tsdtp.cli.config import ConfigError
from tsdtp.data.batching import Batch, collate
from tsdtp.models.cost import max_positions
from tsdtp.models.texts import inputs_of


def task_batches(cell: Cell) -> list[Batch]:
    """Batches of the split that is reported, `index` included."""
    wanted, split = cell.config.benchmark, cell.data.reported
    loader = cell.data.loader(split, wanted.batch_size, limit=wanted.examples, order=wanted.order)
    return list(loader)


def random_batches(cell: Cell) -> list[Batch]:
    """Batches of random ids, each sequence between [CLS] and [SEP] (or what stands for them).

    `tokens` is the length of every sequence, or the shortest and the longest of lengths drawn
    evenly.

    Raises:
        ConfigError: if the model has not so many positions.
    """
    wanted, tokens = cell.config.benchmark, cell.config.tokens
    limit = max_positions(cell.architecture)
    low, high = (tokens, tokens) if isinstance(tokens, int) else (tokens[0], tokens[-1])
    if not 2 < low <= high <= (limit or high):
        valid = "3 or more" if limit is None else f"3 to {limit}, the model's positions"
        raise ConfigError(f"tokens={tokens}: valid are {valid}")
    generator = torch.Generator().manual_seed(cell.config.seed)
    lengths = torch.randint(low, high + 1, (wanted.examples,), generator=generator)
    if wanted.order == "sorted":
        lengths = lengths.sort(descending=True).values
    rows = random_rows(lengths.tolist(), cell.tokenizer, generator)
    size, fill = wanted.batch_size, cast(int, cell.tokenizer.pad_token_id)
    return [collate(rows[start : start + size], fill) for start in range(0, len(rows), size)]


def random_rows(lengths: list[int], tokenizer, generator: torch.Generator) -> list[dict]:
    """Rows of so many tokens: random words between what begins and what ends a sequence."""
    special = set(tokenizer.all_special_ids)
    words = torch.tensor([i for i in range(len(tokenizer)) if i not in special])
    ends = [i for i in (tokenizer.sep_token_id or tokenizer.eos_token_id,) if i is not None]
    starts = [i for i in (tokenizer.cls_token_id,) if i is not None]
    rows = []
    for length in lengths:
        number = length - len(starts) - len(ends)
        drawn = words[torch.randint(len(words), (number,), generator=generator)].tolist()
        rows.append({"input_ids": starts + drawn + ends, "label": 0, "index": 0})
    return rows


def text_batches(cell: Cell, batches: list[Batch]) -> list[dict]:
    """The texts that these batches were made of, as columns; no truth of generated words."""
    rows = cell.data.load()[cell.data.reported]
    truth = [name for name in rows.column_names if name.startswith("decisive")]
    rows = rows.remove_columns(truth)
    return [rows[batch["index"].tolist()] for batch in batches]


def from_text(cell: Cell, forward: Callable[[Batch], object], texts: dict) -> None:
    """From text to logits: tokenises, pads, moves to the device, computes."""
    batch = cell.data.encode(texts, cell.tokenizer)
    forward(inputs_of(batch, cell.device))
