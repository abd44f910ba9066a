"""Attention by its definition, and three short sequences to try others against it."""

from __future__ import annotations

import math

import torch

from tsdtp.packing import Layout, pack

LENGTHS, HEADS, SIZE = (5, 1, 3), 2, 4
MASK = torch.tensor([[i < n for i in range(max(LENGTHS))] for n in LENGTHS])
GATE = torch.tensor([1.0, 0, 1, 1, 0, 1, 1, 0, 1])


def tensors(seed: int = 0, dtype=torch.float32) -> tuple:
    """query, key, value [9, 2, 4] and the layout of three sequences."""
    torch.manual_seed(seed)
    layout = pack(torch.zeros(MASK.shape), MASK).layout
    return *(torch.randn(sum(LENGTHS), HEADS, SIZE).to(dtype) for _ in range(3)), layout


def textbook(query, key, value, layout: Layout, gate=None, bias=None, causal=False) -> tuple:
    """Attention by its definition: one query, one head, one sequence at a time."""
    alive = torch.ones(len(query)).bool() if gate is None else gate != 0
    out, received = torch.zeros_like(value), torch.zeros(len(query))
    for i in range(len(query)):
        mates = [j for j in range(len(query)) if layout.segments[j] == layout.segments[i]]
        keys = [j for j in mates if alive[j] and not (causal and j > i)]
        for h in range(HEADS):
            scores = torch.stack([query[i, h] @ key[j, h] for j in keys]) / math.sqrt(SIZE)
            if bias is not None:
                middle, here = len(bias) // 2, layout.positions[i]
                scores = scores + bias[[middle + layout.positions[j] - here for j in keys], h]
            weights = scores.softmax(0)
            out[i, h] = sum(w * value[j, h] for w, j in zip(weights, keys, strict=True))
            if alive[i]:
                received[keys] += weights / HEADS / len(keys)
    return out, received
