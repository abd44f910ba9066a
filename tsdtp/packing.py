"""The packed layout: the tokens of a batch in one row of rows, without padding.

A batch of B sequences with n_1 ... n_B tokens is one tensor of T = n_1 + ... + n_B rows and the
offsets where each sequence begins. Dropping tokens gathers the rows that stay, whatever lengths
result. A tensor may hold more rows than tokens: dead rows at its end round its size up, because
libraries of half-precision kernels set up every new size anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, eq=False)
class Layout:
    """Where T tokens of B sequences lie, one after the other.

    Attributes:
        cu_seqlens: [B + 1] int64, sequence b holds the rows cu_seqlens[b] to cu_seqlens[b + 1].
        max_seqlen: the longest sequence, in tokens.
        positions: [T] int64, each token's position in its sequence as it was before any dropping.
    """

    cu_seqlens: Tensor
    max_seqlen: int
    positions: Tensor

    @property
    def size(self) -> int:
        """T, the number of tokens."""
        return self.positions.numel()

    @property
    def batch_size(self) -> int:
        """B, the number of sequences."""
        return self.cu_seqlens.numel() - 1

    @cached_property
    def bounds(self) -> list[tuple[int, int]]:
        """First row and end of each sequence, on the host."""
        return list(pairwise(self.cu_seqlens.tolist()))

    @cached_property
    def offsets(self) -> Tensor:
        """[B + 1] int32, cu_seqlens as kernels take it."""
        return self.cu_seqlens.int()

    @cached_property
    def lengths(self) -> Tensor:
        """[B] int64, tokens per sequence."""
        return self.cu_seqlens.diff()

    @cached_property
    def segments(self) -> Tensor:
        """[T] int64, the sequence that each token belongs to."""
        rows = torch.arange(self.batch_size, device=self.cu_seqlens.device)
        return rows.repeat_interleave(self.lengths, output_size=self.size)

    @cached_property
    def grid(self) -> Tensor:
        """[T] int64, each token's place in a flattened [B, max_seqlen] grid."""
        tokens = torch.arange(self.size, device=self.cu_seqlens.device)
        return self.segments * self.max_seqlen + tokens - self.cu_seqlens[self.segments]

    @cached_property
    def mask(self) -> Tensor:
        """[B, max_seqlen] bool attention mask: the cells of that grid that hold a token."""
        columns = torch.arange(self.max_seqlen, device=self.cu_seqlens.device)
        return columns < self.lengths[:, None]

    def with_cached(self, **derived) -> Layout:
        """Stores what the caller knows already (`bounds`, `segments`); returns this layout."""
        vars(self).update(derived)
        return self


@dataclass(frozen=True, eq=False)
class Packed:
    """Values of T tokens in a layout.

    Attributes:
        rows: [R, ...], one row a token, then R - T dead rows whose content means nothing.
        layout: where the tokens lie; shared by all that is said of the same tokens.
    """

    rows: Tensor
    layout: Layout

    @property
    def values(self) -> Tensor:
        """[T, ...], the rows of tokens."""
        size = self.layout.size
        return self.rows if self.rows.shape[0] == size else self.rows[:size]

    def like(self, rows: Tensor) -> Packed:
        """Other values [T or more, ...] in the same layout."""
        return Packed(rows, self.layout)


_EMPTY = "a sequence may not lose its last token; protect at least one"


def pack(values: Tensor, mask: Tensor) -> Packed:
    """Takes the padding out of a batch.

    Args:
        values: [B, S, ...].
        mask: [B, S], nonzero where a token is; padding may stand on either side, or on both.

    Returns:
        The packed tokens; positions count from 0 in every sequence, wherever its padding stands.

    Raises:
        ValueError: if the shapes disagree, there is no sequence, or one has no token or a hole.
    """
    if values.dim() < 2 or values.shape[:2] != mask.shape:
        raise ValueError(f"values {tuple(values.shape)} and mask {tuple(mask.shape)} disagree")
    mask = mask.bool()
    offsets = pad(mask.sum(1).cumsum(0), (1, 0))
    begins = mask & ~pad(mask, (1, 0))[:, :-1]
    holes = (begins.sum(1) > 1).sum(0, keepdim=True)
    *known, broken = torch.cat([offsets, holes]).tolist()  # the one wait for the device
    bounds = list(pairwise(known))
    lengths = [end - start for start, end in bounds]
    if not lengths:
        raise ValueError("a batch of no sequences; valid: one or more")
    if min(lengths) == 0:
        raise ValueError("every sequence of a batch needs at least one token in attention_mask")
    if broken:
        raise ValueError("attention_mask has a hole; valid are zeros before and after a sequence")
    index = torch.nonzero_static(mask.flatten(), size=sum(lengths)).squeeze(1)
    positions = (mask.cumsum(1) - 1).flatten().index_select(0, index)
    layout = Layout(offsets, max(lengths), positions).with_cached(bounds=bounds)
    return Packed(values.flatten(0, 1).index_select(0, index), layout)


def take(values: Tensor, mask: Tensor, tokens: int) -> Tensor:
    """What stands in a padded batch where its mask says so, without a wait for the device.

    Args:
        values: [B, S, ...].
        mask: [B, S] bool.
        tokens: T, how many it marks.

    Returns:
        [T, ...], as `pack` orders them.
    """
    index = torch.nonzero_static(mask.flatten(), size=tokens).squeeze(1)
    return values.flatten(0, 1).index_select(0, index)


def unpack(packed: Packed) -> tuple[Tensor, Tensor]:
    """Puts packed values back on a grid, padded with zeros on the right.

    Returns:
        values [B, max_seqlen, ...] and mask [B, max_seqlen] bool, which is the layout's own.
    """
    values, layout = packed.values, packed.layout
    cells = values.new_zeros(layout.batch_size * layout.max_seqlen, *values.shape[1:])
    grid = cells.index_copy(0, layout.grid, values)
    return grid.unflatten(0, (layout.batch_size, layout.max_seqlen)), layout.mask


def aligned(packed: Packed) -> Packed:
    """The same tokens with dead rows up to `rounded`.

    They repeat the first row: of zeros a layer norm has a gradient beyond half precision.
    """
    missing = rounded(packed.layout.size) - packed.rows.shape[0]
    if missing <= 0:
        return packed
    dead = packed.rows[:1].expand(missing, *packed.rows.shape[1:])
    return packed.like(torch.cat([packed.rows, dead]))


def rounded(tokens: int) -> int:
    """The number of rows for so many tokens where every new number of rows costs a set-up.

    Few different numbers (156 up to 8,192 tokens), and little waste in small batches.
    """
    multiple = 8 if tokens <= 256 else 64
    return -(-tokens // multiple) * multiple


def in_half_precision(rows: Tensor) -> bool:
    """Whether matrix products with these rows are computed in half precision, as autocast may say.

    There a library sets up its kernels anew for every size that it has not seen; float32 needs no
    set-up.
    """
    kind = rows.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else rows.dtype
    return dtype.itemsize <= 2


def one_each(packed: Packed, which: str) -> tuple[Packed, Tensor]:
    """The "first" or the "last" token of each sequence, and [B] int64 which of the T they were."""
    layout = packed.layout
    chosen = layout.cu_seqlens[:-1] if which == "first" else layout.cu_seqlens[1:] - 1
    offsets = torch.arange(layout.batch_size + 1, device=chosen.device)
    one = Layout(offsets, 1, layout.positions.index_select(0, chosen))
    return Packed(packed.rows.index_select(0, chosen), one), chosen


def select(packed: Packed, keep: Tensor, align: bool = False) -> tuple[Packed, Tensor]:
    """Drops every token whose keep flag is false; order and positions stay.

    Args:
        packed: T tokens.
        keep: [T] bool; every sequence must keep at least one token.
        align: fill up with dead rows as `aligned` does.

    Returns:
        The N tokens that stay, and [N] int64 which of the T they were. The very same tokens where
        all of them stay.

    Raises:
        ValueError: if a sequence would lose its last token.
    """
    before = packed.layout
    if before.batch_size == 1:
        return _select_of_one(packed, keep, align)
    offsets = pad(keep.cumsum(0), (1, 0))[before.cu_seqlens]
    bounds = list(pairwise(offsets.tolist()))  # the one wait for the device
    lengths = [end - start for start, end in bounds]
    if min(lengths) == 0:
        raise ValueError(_EMPTY)
    size = sum(lengths)
    rows = rounded(size) if align else size
    index = torch.nonzero_static(keep, size=rows, fill_value=0).squeeze(1)
    tokens = index[:size]
    if size == before.size and packed.rows.shape[0] >= rows:
        return packed, tokens
    layout = Layout(offsets, max(lengths), before.positions.index_select(0, tokens))
    layout.with_cached(bounds=bounds, segments=before.segments.index_select(0, tokens))
    return Packed(packed.rows.index_select(0, index), layout), tokens


def _select_of_one(packed: Packed, keep: Tensor, align: bool) -> tuple[Packed, Tensor]:
    """The same for a batch of one, in few operators; an export has no branch on what is kept."""
    tokens = keep.nonzero().squeeze(1)
    size = tokens.shape[0]
    torch._check_value(size >= 1, lambda: _EMPTY)
    if not torch.compiler.is_exporting() and size == packed.layout.size:
        return packed, tokens
    chosen = _one(
        packed.rows.index_select(0, tokens), packed.layout.positions.index_select(0, tokens)
    )
    return (aligned(chosen) if align else chosen), tokens


def _one(rows: Tensor, positions: Tensor) -> Packed:
    """A batch of one, whose bounds are known without a look at the device."""
    size = positions.shape[0]
    offsets = torch.arange(2, device=rows.device) * size
    layout = Layout(offsets, size, positions)
    return Packed(
        rows, layout.with_cached(bounds=[(0, size)], segments=torch.zeros_like(positions))
    )


def whole(values: Tensor) -> Packed:
    """A batch of one without padding, from values [1, S, ...]."""
    return _one(values[0], torch.arange(values.shape[1], device=values.device))
