from __future__ import annotations

import pytest
import torch

from tsdtp.packing import Packed, aligned, pack, rounded, select, unpack

MASK = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]])


def packed(mask=MASK, width: int = 2) -> Packed:
    values = torch.arange(1.0, mask.numel() * width + 1).view(*mask.shape, width)
    return pack(values, mask)


def test_packing_takes_the_padding_out():
    tokens = packed()
    assert tokens.values[:, 0].tolist() == [1, 3, 5, 9, 17, 19, 21, 23]
    assert tokens.layout.cu_seqlens.tolist() == [0, 3, 4, 8]
    assert tokens.layout.max_seqlen == 4
    assert tokens.layout.positions.tolist() == [0, 1, 2, 0, 0, 1, 2, 3]
    assert tokens.layout.lengths.tolist() == [3, 1, 4]
    assert tokens.layout.segments.tolist() == [0, 0, 0, 1, 2, 2, 2, 2]


def test_a_hole_is_no_padding():
    pack(MASK, torch.tensor([[0, 1, 1, 0], [0, 0, 0, 1], [1, 1, 1, 1]]))
    with pytest.raises(ValueError, match="attention_mask has a hole; valid are zeros before"):
        pack(MASK, torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [1, 1, 1, 0]]))


@pytest.mark.parametrize("shape", [(), (2,), (3, 2)])
def test_round_trip(shape):
    values = torch.randn(3, 4, *shape)
    grid, mask = unpack(pack(values, MASK))
    assert torch.equal(mask, MASK.bool())
    assert torch.equal(grid[mask], values[MASK.bool()])
    assert (grid[~mask] == 0).all()


def test_unpacking_pads_to_the_longest_that_is_left():
    grid, mask = unpack(pack(torch.randn(2, 9), torch.tensor([[1] * 3 + [0] * 6] * 2)))
    assert grid.shape == mask.shape == (2, 3)
    assert mask.all()


def test_padding_may_stand_on_the_left():
    values = torch.randn(3, 4)
    left = pack(values.flip(1), MASK.flip(1))
    assert left.layout.positions.tolist() == packed().layout.positions.tolist()
    assert torch.equal(left.layout.cu_seqlens, packed().layout.cu_seqlens)
    assert left.values[:3].tolist() == values[0, :3].flip(0).tolist()


def test_selecting_keeps_order_and_positions():
    keep = torch.tensor([1, 0, 1, 1, 0, 1, 0, 1]).bool()
    left, index = select(packed(), keep)
    assert index.tolist() == [0, 2, 3, 5, 7]
    assert left.values[:, 0].tolist() == [1, 5, 9, 19, 23]
    assert left.layout.positions.tolist() == [0, 2, 0, 1, 3]
    assert left.layout.cu_seqlens.tolist() == [0, 2, 3, 5]
    assert left.layout.max_seqlen == 2
    again, _ = select(left, torch.tensor([0, 1, 1, 0, 1]).bool())
    assert again.layout.positions.tolist() == [2, 0, 3]
    assert left.layout.segments.tolist() == [0, 0, 1, 2, 2]
    assert again.layout.lengths.tolist() == [1, 1, 1]


def test_selecting_is_differentiable():
    values = torch.ones(3, 4, requires_grad=True)
    keep = torch.tensor([1, 0, 1, 1, 0, 1, 0, 1]).bool()
    select(pack(values, MASK), keep)[0].values.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1]]


def test_other_values_share_the_layout():
    tokens = packed()
    other = tokens.like(torch.zeros(8))
    assert other.values.shape == (8,)
    assert other.layout is tokens.layout
    assert other.layout.grid is tokens.layout.grid  # derived once


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"values \(2, 3\) and mask \(3, 2\) disagree"):
        pack(torch.zeros(2, 3), torch.ones(3, 2))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.tensor([[1, 1], [0, 0]]), "at least one token in attention_mask"),
        (torch.zeros(0, 4), "a batch of no sequences; valid: one or more"),
    ],
)
def test_a_batch_needs_a_sequence_and_that_a_token(mask, message):
    with pytest.raises(ValueError, match=message):
        pack(torch.zeros(mask.shape), mask)


def test_a_sequence_may_not_lose_its_last_token():
    with pytest.raises(ValueError, match="may not lose its last token"):
        select(packed(), torch.tensor([1, 1, 1, 0, 1, 1, 1, 1]).bool())


def test_aligned_rows_hold_the_same_tokens_and_then_dead_ones():
    tokens = aligned(pack(torch.randn(3, 4, 2), torch.tensor([[1, 1, 1, 1]] * 3)))
    assert (len(tokens.rows), tokens.layout.size, len(tokens.values)) == (16, 12, 12)
    assert (tokens.rows[12:] == tokens.rows[0]).all()
    assert aligned(tokens) is tokens


@pytest.mark.parametrize(("tokens", "rows"), [(1, 8), (8, 8), (250, 256), (257, 320), (640, 640)])
def test_numbers_of_rows_are_few(tokens, rows):
    assert rounded(tokens) == rows


def test_selecting_may_align():
    keep = torch.tensor([1, 0, 1, 1, 0, 1, 0, 1]).bool()
    plain, _ = select(packed(), keep)
    left, index = select(packed(), keep, align=True)
    assert len(left.rows) == 8
    assert torch.equal(left.values, plain.values)
    assert index.tolist() == [0, 2, 3, 5, 7]
    assert left.layout.bounds == [(0, 2), (2, 3), (3, 5)]


def test_where_all_stay_nothing_moves():
    tokens = packed()
    left, index = select(tokens, torch.ones(8).bool())
    assert left is tokens
    assert index.tolist() == list(range(8))
