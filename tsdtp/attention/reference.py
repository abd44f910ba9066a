"""Attention written like the textbook, one sequence after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tsdtp.attention.softmax import Attention, relative_bias, sequence_attention


def attend(query, key, value, layout, gate, received, dropout, bias) -> Attention:
    """See `tsdtp.attention.attend`."""
    gate = query.new_ones(layout.size, dtype=torch.float32) if gate is None else gate
    contexts, receipts = [], []
    for start, end in layout.bounds:
        q, k, v = (x[start:end].transpose(0, 1) for x in (query, key, value))  # [H, n, D]
        added = None if bias is None else relative_bias(bias, layout.positions[start:end])
        weights, receipt = sequence_attention(q, k, gate[start:end].float(), added)
        context = F.dropout(weights, dropout).to(v.dtype) @ v
        contexts.append(context.transpose(0, 1))
        receipts.append(receipt)
    return _with_dead_rows(contexts, query.shape[0]), torch.cat(receipts) if received else None


def _with_dead_rows(contexts: list[Tensor], rows: int) -> Tensor:
    """Joins contexts [n, H, D] of all sequences and adds zeros up to `rows` rows."""
    if len(contexts) == 1 and contexts[0].shape[0] == rows:
        return contexts[0]
    missing = rows - sum(context.shape[0] for context in contexts)
    tail = [contexts[0].new_zeros(missing, *contexts[0].shape[1:])] if missing else []
    return torch.cat([*contexts, *tail])
