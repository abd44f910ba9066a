"""The packed layout: the tokens of a batch in one row of rows, without padding.

A batch of B sequences with n_1 ... n_B tokens is one tensor of T = n_1 + ... + n_B rows and the
offsets where each sequence begins. Dropping tokens is a boolean index, whatever lengths result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Packed:
    """Values of T tokens of B sequences, one after the other.

    Attributes:
        values: [T, ...], one row a token.
        cu_seqlens: [B + 1] int64, sequence b holds the rows cu_seqlens[b] to cu_seqlens[b + 1].
        max_seqlen: the longest sequence, in tokens.
        positions: [T] int64, each token's position in its sequence as it was before any dropping.
    """

    values: Tensor
    cu_seqlens: Tensor
    max_seqlen: int
    positions: Tensor

    @property
    def batch_size(self) -> int:
        """B, the number of sequences."""
        return self.cu_seqlens.numel() - 1

    @cached_property
    def lengths(self) -> Tensor:
        """[B] int64, tokens per sequence."""
        return self.cu_seqlens.diff()

    @cached_property
    def segments(self) -> Tensor:
        """[T] int64, the sequence that each token belongs to."""
        rows = torch.arange(self.batch_size, device=self.cu_seqlens.device)
        return rows.repeat_interleave(self.lengths, output_size=self.positions.numel())

    @cached_property
    def grid(self) -> Tensor:
        """[T] int64, each token's place in a flattened [B, max_seqlen] grid."""
        tokens = torch.arange(self.positions.numel(), device=self.cu_seqlens.device)
        return self.segments * self.max_seqlen + tokens - self.cu_seqlens[self.segments]

    def like(self, values: Tensor) -> Packed:
        """Other values [T, ...] in the same layout; the index tensors are shared."""
        other = Packed(values, self.cu_seqlens, self.max_seqlen, self.positions)
        shared = {k: v for k, v in vars(self).items() if k in ("lengths", "segments", "grid")}
        vars(other).update(shared)
        return other


def pack(values: Tensor, mask: Tensor) -> Packed:
    """Takes the padding out of a batch.

    Args:
        values: [B, S, ...].
        mask: [B, S], nonzero where a token is; padding may stand on either side.

    Returns:
        The packed tokens; positions count from 0 in every sequence, wherever its padding stands.

    Raises:
        ValueError: if the shapes disagree or a sequence has no token.
    """
    if values.shape[:2] != mask.shape:
        raise ValueError(f"values {tuple(values.shape)} and mask {tuple(mask.shape)} disagree")
    mask = mask.bool()
    lengths = mask.sum(1)
    if mask.numel() == 0 or bool((lengths == 0).any()):
        raise ValueError("every sequence of a batch needs at least one token in attention_mask")
    positions = (mask.cumsum(1) - 1)[mask]
    cu_seqlens = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
    return Packed(values[mask], cu_seqlens, int(lengths.max()), positions)


def unpack(packed: Packed) -> tuple[Tensor, Tensor]:
    """Puts packed values back on a grid, padded with zeros on the right.

    Returns:
        values [B, max_seqlen, ...] and mask [B, max_seqlen] bool.
    """
    cells = packed.batch_size * packed.max_seqlen
    shape = (packed.batch_size, packed.max_seqlen, *packed.values.shape[1:])
    grid = packed.values.new_zeros(cells, *packed.values.shape[1:])
    grid = grid.index_copy(0, packed.grid, packed.values)
    mask = torch.zeros(cells, dtype=torch.bool, device=packed.values.device)
    mask[packed.grid] = True
    return grid.view(shape), mask.view(shape[:2])


def select(packed: Packed, keep: Tensor) -> Packed:
    """Drops every token whose keep flag is false; order and positions stay.

    Args:
        packed: T tokens.
        keep: [T] bool; every sequence must keep at least one token.

    Raises:
        ValueError: if a sequence would lose its last token.
    """
    kept = torch.nn.functional.pad(keep.cumsum(0), (1, 0))[packed.cu_seqlens]
    lengths = kept.diff()
    shortest, longest = (int(x) for x in torch.aminmax(lengths))
    if shortest == 0:
        raise ValueError("a sequence may not lose its last token; protect at least one")
    return Packed(packed.values[keep], kept, longest, packed.positions[keep])
