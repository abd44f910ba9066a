"""What a pruned model returns, and the counts of tokens in it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.utils.generic import ModelOutput

from tsdtp.models.encoder import Encoding


@dataclass
class PrunedOutput(ModelOutput):
    """What a pruned model returns.

    Attributes:
        loss: scalar, the task's (cross-entropy, or see `tsdtp.models.problem`) plus the weighted
            auxiliary loss; with labels only.
        logits: [B, C], or of a decoder [B, N, V]; None where no decoder ran.
        tokens_kept: [B, L] int64, live tokens that left each block's dropping.
        tokens_entered: [B] int64, tokens that entered the first block.
        kept_layers: [B, S] int64, in how many blocks each token stayed; 0 for padding.
        auxiliary_loss: scalar, unweighted; only while the pruner trains.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    tokens_kept: Tensor | None = None
    tokens_entered: Tensor | None = None
    kept_layers: Tensor | None = None
    auxiliary_loss: Tensor | None = None

    @property
    def lengths(self) -> Tensor:
        """[L + 1, B] int64, live tokens entering block 0 and after each block's dropping."""
        assert self.tokens_entered is not None and self.tokens_kept is not None
        return torch.cat([self.tokens_entered[:, None], self.tokens_kept], 1).T


def counts(encoding: Encoding, attention_mask: Tensor) -> dict[str, Tensor]:
    """The fields of a `PrunedOutput` that count tokens, for a padded batch [B, S]."""
    kept = torch.zeros_like(attention_mask, dtype=torch.long)
    # Not by brackets, which wait for the device to tell how many there are.
    kept = kept.masked_scatter(attention_mask.bool(), encoding.kept)
    lengths = encoding.lengths
    return {"tokens_kept": lengths[1:].T, "tokens_entered": lengths[0], "kept_layers": kept}


def full_counts(attention_mask: Tensor, layers: int) -> dict[str, Tensor]:
    """The same where so many layers keep every token."""
    lengths = attention_mask.long().sum(1)
    kept = lengths[:, None].expand(-1, layers)
    stays = attention_mask.long() * layers
    return {"tokens_kept": kept, "tokens_entered": lengths, "kept_layers": stays}
