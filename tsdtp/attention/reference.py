"""Attention written like the textbook, one sequence after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tsdtp.attention.softmax import Attention, gated_softmax, received_by, score_bias


def attend(query, key, value, layout, gate, received, dropout, bias, causal) -> Attention:
    """See `tsdtp.attention.attend`."""
    gate = query.new_ones(layout.size, dtype=torch.float32) if gate is None else gate
    contexts, receipts = [], []
    for start, end in layout.bounds:
        q, k, v = (x[start:end].transpose(0, 1) for x in (query, key, value))  # [H, n, D]
        added = score_bias(bias, causal, layout.positions[start:end])
        own = gate[start:end].float()
        weights = gated_softmax(q, k, own, added)
        context = F.dropout(weights, dropout).to(v.dtype) @ v
        contexts.append(context.transpose(0, 1))
        receipts.append(received_by(weights, own.detach() != 0, added))
    context = F.pad(torch.cat(contexts), (0, 0, 0, 0, 0, query.shape[0] - layout.size))
    return context, torch.cat(receipts) if received else None
