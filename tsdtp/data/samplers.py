"""Which rows make a batch: of like length, of about as many tokens, a process's share."""

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochSampler(Sampler[list[int]]):
    """Batches drawn anew each epoch, and again the same when an epoch is repeated.

    Args:
        seed: epoch e is drawn from `seed + e` alone, so that a resumed run can repeat it.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch that the next iteration draws."""
        self.epoch = epoch

    def next_epoch(self) -> torch.Generator:
        """What this epoch is drawn from; moves on to the next one."""
        self.epoch += 1
        return torch.Generator().manual_seed(self.seed + self.epoch - 1)


class ShuffledBatchSampler(EpochSampler):
    """Batches of rows in a random order; every row occurs exactly once an epoch.

    Args:
        rows: number of rows.
        batch_size: rows per batch; the last one of an epoch may be smaller.
        seed: see `EpochSampler`.
    """

    def __init__(self, rows: int, batch_size: int, seed: int = 0) -> None:
        super().__init__(seed)
        self.rows, self.batch_size = rows, batch_size

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yields lists of row numbers, and moves on to the next epoch."""
        generator = self.next_epoch()
        # A DataLoader with shuffle=True draws once before the order: samples stay what they were.
        torch.empty((), dtype=torch.int64).random_(generator=generator)
        for rows in torch.randperm(self.rows, generator=generator).split(self.batch_size):
            yield rows.tolist()


class BucketBatchSampler(EpochSampler):
    """Batches of rows of like length, drawn anew each epoch.

    The rows are shuffled and cut into pools; each pool is sorted by length and cut into batches;
    the batches are shuffled. So padding is small, and batches still differ from one epoch to the
    next. Every row occurs exactly once an epoch.

    Args:
        lengths: number of tokens of each row, [N].
        batch_size: rows per batch; one batch of an epoch may be smaller.
        seed: see `EpochSampler`.
        pool: batches per pool; more means less padding and less shuffling.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int = 0, pool: int = 50) -> None:
        super().__init__(seed)
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.pool = pool

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """Yields lists of row numbers, and moves on to the next epoch."""
        generator = self.next_epoch()
        order = torch.randperm(len(self.lengths), generator=generator)
        batches: list[torch.Tensor] = []
        for rows in order.split(self.pool * self.batch_size):
            by_length = rows[self.lengths[rows].argsort(stable=True)]
            batches += by_length.split(self.batch_size)
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number].tolist()


class TokenBatchSampler(EpochSampler):
    """Batches of about the same number of tokens, padding included; long rows make small batches.

    The rows are sorted by length, those of equal length shuffled, and cut where the next row
    would make the batch too large; the batches are shuffled. So every epoch has the same number
    of batches, and every row occurs exactly once in it.

    Args:
        lengths: tokens of each row's source and of its target, [N, 2].
        batch_tokens: rows times the sum of the longest source and the longest target, at most; a
            longer row is a batch of its own.
        seed: see `EpochSampler`.
        least: rows per batch, at least, whatever the tokens.

    Raises:
        ValueError: if there are fewer rows than `least`.
    """

    def __init__(
        self, lengths: torch.Tensor, batch_tokens: int, seed: int = 0, least: int = 1
    ) -> None:
        if len(lengths) < least:
            raise ValueError(f"{len(lengths)} rows cannot make a batch of {least}")
        super().__init__(seed)
        self.lengths = lengths
        ordered = sorted(map(tuple, lengths.tolist()))
        self.sizes = _cut(ordered, batch_tokens, least)

    def __len__(self) -> int:
        """Batches per epoch."""
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[int]]:
        """Yields lists of row numbers, and moves on to the next epoch."""
        generator = self.next_epoch()
        order = torch.randperm(len(self.lengths), generator=generator)
        for column in (1, 0):
            order = order[self.lengths[order, column].argsort(stable=True)]
        batches = order.split(self.sizes)
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number].tolist()


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
