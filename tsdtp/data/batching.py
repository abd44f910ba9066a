"""From encoded rows to padded batches: collate, and a loader."""

from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader

from tsdtp.data.samplers import (
    BatchShard,
    BucketBatchSampler,
    ShuffledBatchSampler,
    TokenBatchSampler,
)
from tsdtp.models.texts import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset

Batch = dict[str, torch.Tensor]


def pad(rows: list[list[int]], value: int) -> torch.Tensor:
    """Pads lists of lengths S_i on the right with `value` to a tensor [B, max S_i]."""
    columns = list(zip_longest(*rows, fillvalue=value))
    return torch.from_numpy(np.array(columns, dtype=np.int64).reshape(-1, len(rows)).T.copy())


def collate(rows: list[dict[str, Any]], pad_token_id: int = 0, pad_token_type_id: int = 0) -> Batch:
    """Makes one batch, padded to its longest row.

    Args:
        rows: with `input_ids`, `index`, a number as `label` or tokens as `labels`, and perhaps
            `token_type_ids` and `decisive`.
        pad_token_id: fills `input_ids`.
        pad_token_type_id: fills `token_type_ids`.

    Returns:
        `input_ids`, `attention_mask` and, where the rows have them, `token_type_ids` and
        `decisive`, each [B, S]; `labels` [B], or of tokens [B, N], padded with `IGNORED` as
        transformers has it; and `index` [B]. All are int64.
    """
    fill = {"input_ids": pad_token_id, "token_type_ids": pad_token_type_id}
    fill |= {"decisive": 0, "labels": IGNORED}
    present = [name for name in fill if name in rows[0]]
    batch = {name: pad([row[name] for row in rows], fill[name]) for name in present}
    batch["attention_mask"] = pad([[1] * len(row["input_ids"]) for row in rows], 0)
    if "label" in rows[0]:
        batch["labels"] = torch.tensor([row["label"] for row in rows])
    batch["index"] = torch.tensor([row["index"] for row in rows])
    return batch


def make_loader(
    data: "Dataset",
    batch_size: int,
    shuffle: bool = False,
    bucketed: bool = False,
    seed: int = 0,
    order: str = "plain",
    rank: int = 0,
    world: int = 1,
    batch_tokens: int | None = None,
    pad_token_id: int = 0,
    pad_token_type_id: int = 0,
) -> DataLoader[Batch]:
    """Makes the loader that `TaskData.loader` describes, of encoded rows.

    Raises:
        ValueError: if the order is not known, or is both random and sorted, or as `BatchShard`.
    """
    if order not in ("plain", "sorted"):
        raise ValueError(f"unknown order {order!r}; valid: plain, sorted")
    if order == "sorted" and (shuffle or bucketed):
        raise ValueError("order=sorted excludes shuffle and bucketed")
    data = data.sort("length", reverse=True) if order == "sorted" else data
    generator = None if bucketed else torch.Generator().manual_seed(seed)
    if bucketed and batch_tokens is not None:
        lengths = torch.tensor([data["length"][:], data["target_length"][:]]).T
        batches = TokenBatchSampler(lengths, batch_tokens, seed, world)
        batch_size = len(data)  # no batch has fewer rows than there are processes
    elif bucketed:
        batches = BucketBatchSampler(data["length"][:], batch_size, seed)
    elif shuffle:
        batches = ShuffledBatchSampler(len(data), batch_size, seed)
    else:
        batches = BatchSampler(range(len(data)), batch_size, drop_last=False)
    shard = BatchShard(batches, len(data), batch_size, rank, world, shuffle or bucketed)
    fill = partial(collate, pad_token_id=pad_token_id, pad_token_type_id=pad_token_type_id)
    return DataLoader(data, batch_sampler=shard, generator=generator, collate_fn=fill)  # pyright: ignore
