"""From encoded rows to padded batches: collate, a sampler of batches of like length, a loader."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, Sampler, SequentialSampler

if TYPE_CHECKING:
    from datasets import Dataset

Batch = dict[str, torch.Tensor]


def pad(rows: list[list[int]], value: int) -> torch.Tensor:
    """Pads lists of lengths S_i on the right with `value` to a tensor [B, max S_i]."""
    out = torch.full((len(rows), max(map(len, rows))), value, dtype=torch.long)
    for line, row in zip(out, rows, strict=True):
        line[: len(row)] = torch.tensor(row, dtype=torch.long)
    return out


def collate(rows: list[dict[str, Any]], pad_token_id: int = 0, pad_token_type_id: int = 0) -> Batch:
    """Makes one batch, padded to its longest row.

    Args:
        rows: with `input_ids`, `index`, a number as `label` or tokens as `labels`, and perhaps
            `token_type_ids` and `decisive`.
        pad_token_id: fills `input_ids`.
        pad_token_type_id: fills `token_type_ids`.

    Returns:
        `input_ids`, `attention_mask` and, where the rows have them, `token_type_ids` and
        `decisive`, each [B, S]; `labels` [B], or of tokens [B, N], padded with -100 as
        transformers has it; and `index` [B]. All are int64.
    """
    fill = {"input_ids": pad_token_id, "token_type_ids": pad_token_type_id}
    fill |= {"decisive": 0, "labels": -100}
    present = [name for name in fill if name in rows[0]]
    batch = {name: pad([row[name] for row in rows], fill[name]) for name in present}
    batch["attention_mask"] = pad([[1] * len(row["input_ids"]) for row in rows], 0)
    if "label" in rows[0]:
        batch["labels"] = torch.tensor([row["label"] for row in rows])
    batch["index"] = torch.tensor([row["index"] for row in rows])
    return batch


class BucketBatchSampler(Sampler[list[int]]):
    """Batches of rows of like length, drawn anew each epoch.

    The rows are shuffled and cut into pools; each pool is sorted by length and cut into batches;
    the batches are shuffled. So padding is small, and batches still differ from one epoch to the
    next. Every row occurs exactly once an epoch.

    Args:
        lengths: number of tokens of each row, [N].
        batch_size: rows per batch; one batch of an epoch may be smaller.
        seed: epoch e is drawn from `seed + e` alone, so that a resumed run can repeat it.
        pool: batches per pool; more means less padding and less shuffling.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int = 0, pool: int = 50) -> None:
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.pool = pool
        self.epoch = 0

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yields lists of row numbers, and moves on to the next epoch."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        self.epoch += 1
        order = torch.randperm(len(self.lengths), generator=generator)
        batches: list[torch.Tensor] = []
        for rows in order.split(self.pool * self.batch_size):
            by_length = rows[self.lengths[rows].argsort(stable=True)]
            batches += by_length.split(self.batch_size)
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that the next iteration draws."""
        self.epoch = epoch


class TokenBatchSampler(Sampler[list[int]]):
    """Batches of about the same number of tokens, padding included; long rows make small batches.

    The rows are sorted by length, those of equal length shuffled, and cut where the next row
    would make the batch too large; the batches are shuffled. So every epoch has the same number
    of batches, and every row occurs exactly once in it.

    Args:
        lengths: tokens of each row's source and of its target, [N, 2].
        batch_tokens: rows times the sum of the longest source and the longest target, at most; a
            longer row is a batch of its own.
        seed: epoch e is drawn from `seed + e` alone.
        least: rows per batch, at least, whatever the tokens.

    Raises:
        ValueError: if there are fewer rows than `least`.
    """

    def __init__(
        self, lengths: torch.Tensor, batch_tokens: int, seed: int = 0, least: int = 1
    ) -> None:
        if len(lengths) < least:
            raise ValueError(f"{len(lengths)} rows cannot make a batch of {least}")
        self.lengths = lengths
        self.seed, self.epoch = seed, 0
        ordered = sorted(map(tuple, lengths.tolist()))
        self.sizes = _cut(ordered, batch_tokens, least)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[int]]:
        """Yields lists of row numbers, and moves on to the next epoch."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        self.epoch += 1
        order = torch.randperm(len(self.lengths), generator=generator)
        for column in (1, 0):
            order = order[self.lengths[order, column].argsort(stable=True)]
        batches = order.split(self.sizes)
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number].tolist()

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that the next iteration draws."""
        self.epoch = epoch


def _cut(ordered: list[tuple[int, int]], batch_tokens: int, least: int) -> list[int]:
    """Rows of each batch of these (source, target) lengths in their order."""
    sizes, rows, longest = [], 0, 0
    for source, target in ordered:
        wider = max(longest, target)
        if rows >= least and (rows + 1) * (source + wider) > batch_tokens:
            sizes.append(rows)
            rows, wider = 0, target
        rows, longest = rows + 1, wider
    if sizes and rows < least:
        rows += sizes.pop()
    return [*sizes, rows]


class BatchShard(Sampler[list[int]]):
    """The part of every batch that one of several processes takes: rows rank, rank + world, ...

    Together the processes see each batch whole, no row twice, and all of them the same number of
    batches. A batch with fewer rows than processes cannot be shared: it is left out where rows
    are drawn at random, and joins the batch before it where every row counts.

    Args:
        sampler: of the whole batches; only its last one may be short, or with `drop_short` any.
        rows: number of rows in all of them.
        batch_size: rows per whole batch; the number of rows where none has too few.
        rank: of this process, from 0.
        world: number of processes.
        drop_short: leave a batch out that is too small, instead of joining it to another.

    Raises:
        ValueError: if there are more processes than rows, or than rows per batch.
    """

    def __init__(
        self,
        sampler: Sampler[list[int]],
        rows: int,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        drop_short: bool = False,
    ) -> None:
        if min(rows, batch_size) < world:
            raise ValueError(
                f"{world} processes cannot share batches of {batch_size} out of {rows} rows; "
                f"valid: {world} or more of both"
            )
        # By this name Lightning finds the sampler whose epoch it sets.
        self.sampler = sampler
        self.rank, self.world, self.drop_short = rank, world, drop_short
        self.short = 0 < rows % batch_size < world

    def __len__(self) -> int:
        """Batches per epoch, the same in every process."""
        return len(self.sampler) - self.short  # pyright: ignore[reportArgumentType]

    def __iter__(self) -> Iterator[list[int]]:
        """Yields lists of row numbers."""
        for batch in self._shareable():
            yield batch[self.rank :: self.world]

    def _shareable(self) -> Iterator[list[int]]:
        if self.drop_short:
            yield from (batch for batch in self.sampler if len(batch) >= self.world)
            return
        whole = iter(self.sampler)
        before = next(whole)
        for batch in whole:
            if len(batch) < self.world:
                before = before + batch
            else:
                yield before
                before = batch
        yield before


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
    else:
        rows = RandomSampler(data, generator=generator) if shuffle else SequentialSampler(data)  # pyright: ignore
        batches = BatchSampler(rows, batch_size, drop_last=False)
    shard = BatchShard(batches, len(data), batch_size, rank, world, shuffle or bucketed)
    fill = partial(collate, pad_token_id=pad_token_id, pad_token_type_id=pad_token_type_id)
    return DataLoader(data, batch_sampler=shard, generator=generator, collate_fn=fill)  # pyright: ignore
