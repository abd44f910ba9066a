"""The loop over a Hugging Face encoder's blocks, with dropping between attention and feed-forward.

Masked and packed execution are the same loop. Packed, a dropped token leaves every tensor; masked,
it stays with alive = False and weight 0 in every softmax, and the gates carry gradients. In both,
where a head reads one token of each sequence alone, nothing is computed for the others after the
last attention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor, nn

from tsdtp.attention import attend
from tsdtp.models.blocks import Family, Rotary
from tsdtp.models.tokens import Tokens, wants_alignment
from tsdtp.packing import Layout, Packed, aligned, one_each
from tsdtp.pruning import TokenPruner
from tsdtp.pruning.rules import segment_sum


@dataclass
class Encoding:
    """What the encoder returns.

    Attributes:
        hidden: the tokens after the last block; packed execution holds the kept ones alone, and
            where a head reads one token of each sequence it is there alone.
        weights: [T] float32, 1 for a live and 0 for a dropped token, between them where gates are
            soft, with the gates' gradient; under proportional attention how many tokens each one
            stands for.
        lengths: [L + 1, B] int64, live tokens entering block 0 and after each block's dropping.
        masked: whether dropped tokens are still there.
        losses: auxiliary losses, one per layer that has one.
        kept: per token of the batch as it came in, how many blocks kept it: [T] int64.
    """

    hidden: Packed
    weights: Tensor
    lengths: Tensor
    kept: Tensor
    masked: bool
    losses: list[Tensor] = field(default_factory=list)


@dataclass
class BlockKeyValues:
    """What a block attended to: T tokens, their layout, and which of them were alive.

    Attributes:
        layout: of the tokens.
        alive: [T] bool.
        key: [T, H, D] as attention saw it; value likewise.
        value: [T, H, D].
    """

    layout: Layout
    alive: Tensor
    key: Tensor
    value: Tensor


class PackedEncoder:
    """Runs a base model's blocks on packed tokens; holds no weights of its own.

    Args:
        family: how the blocks split.
        base: the Hugging Face base model.
        pruner: decides what to drop.
        heads: attention heads.
        backend: of attention.
        read: "first" or "last" token of each sequence is all that is asked for; None: all tokens.
    """

    def __init__(
        self,
        family: Family,
        base: nn.Module,
        pruner: TokenPruner,
        heads: int,
        backend: str,
        read: str | None = None,
    ) -> None:
        self.family, self.base, self.pruner = family, base, pruner
        self.heads, self.backend = heads, backend
        self.depth = pruner.depth  # once: on a GPU one may have to wait for it
        # A pruner that decides after the last attention wants to see every token there.
        self.read = None if pruner.prunes(self.depth - 1) else read

    def embed(self, ids: Packed, token_type_ids: Tensor | None) -> Tensor:
        """[T, d] what enters the first block."""
        return self.family.embed(self.base, ids.values, token_type_ids, ids.layout.positions)

    def __call__(
        self,
        embeddings: Packed,
        input_ids: Tensor,
        protected: Tensor,
        masked: bool,
        target: Tensor | None = None,
        cache: list[BlockKeyValues] | None = None,
    ) -> Encoding:
        """Encodes.

        Args:
            embeddings: [T, d] of T tokens in B sequences.
            input_ids: [T].
            protected: [T] bool; at least one token of every sequence.
            masked: keep dropped tokens in place (training) instead of removing them.
            target: [T, L] or None, a teacher's attributions for the auxiliary losses.
            cache: gathers what each block attends to.
        """
        alive = torch.ones_like(protected)
        hidden = aligned(embeddings) if wants_alignment(embeddings.rows) else embeddings
        inputs = embeddings.values if self.pruner.needs_embeddings else None
        tokens = Tokens(hidden, inputs, input_ids, protected, alive, target=target)
        if self.family.relative_bias is not None:
            tokens.biases = self.family.relative_bias(self.base, embeddings.layout.max_seqlen)
        tokens.rotary = self._rotary(hidden)
        index = torch.arange(alive.shape[0], device=alive.device)
        lengths, losses = [embeddings.layout.lengths], []
        blocks, depth = self.family.layers(self.base), self.depth
        pruning = [layer for layer in range(depth) if self.pruner.prunes(layer)]
        until = dict(pairwise([*pruning, len(blocks)]))  # what goes is gone till then
        kept = torch.full_like(index, min(pruning, default=len(blocks)))
        for layer, block in enumerate(blocks[:depth]):
            received = self._attention(layer, block, tokens, cache)
            if self.pruner.prunes(layer):
                index, loss = self._prune(layer, tokens, received, masked, index)
                losses += [] if loss is None else [loss]
                lengths.append(_live_lengths(tokens) if masked else tokens.hidden.layout.lengths)
                kept.index_add_(0, index, tokens.alive.long(), alpha=until[layer] - layer)
            else:
                lengths.append(lengths[-1])
            hidden = tokens.hidden
            tokens.hidden = hidden.like(self.family.feed_forward(block, hidden.rows))
        # Nothing is dropped in the blocks that are skipped, and nothing computed.
        lengths += [lengths[-1]] * (len(blocks) - depth)
        weights = tokens.weights(self.pruner.proportional_attention)
        weights = tokens.alive.float() if weights is None else weights
        lengths = torch.stack(lengths)
        return Encoding(tokens.hidden, weights, lengths, kept, masked, losses)

    def _rotary(self, x: Packed) -> Sequence[Rotary] | None:
        rotary = self.family.rotary
        return None if rotary is None else rotary(self.base, x.rows, x.layout.positions)

    def _attention(
        self, layer: int, block: nn.Module, tokens: Tokens, cache: list[BlockKeyValues] | None
    ) -> Tensor | None:
        """Replaces the hidden states by those after attention; returns attention received."""
        x = tokens.hidden
        query, key, value = (
            y.unflatten(-1, (self.heads, -1)) for y in self.family.qkv(block, x.rows)
        )
        if tokens.rotary is not None:
            query, key = tokens.rotary[layer](query, key)
        if cache is not None:
            cache.append(BlockKeyValues(x.layout, tokens.alive, key, value))
        context, received = attend(
            query,
            key,
            value,
            x.layout,
            gate=tokens.weights(self.pruner.proportional_attention),
            received=self.pruner.needs_attention and self.pruner.prunes(layer),
            dropout=self.family.attention_dropout(block) if block.training else 0.0,
            bias=None if tokens.biases is None else tokens.biases[layer],
            causal=self.family.causal,
            backend=self.backend,
        )
        if self.pruner.needs_projections and self.pruner.prunes(layer):
            tokens.query, tokens.key = query[: x.layout.size], key[: x.layout.size]
        del query, key, value  # the peak of memory is what comes next, in the first block
        if self.read is not None and layer == self.depth - 1:
            x, chosen = one_each(x, self.read)
            context = context.index_select(0, chosen)
        tokens.hidden = x.like(self.family.attention_output(block, context.flatten(1), x.rows))
        return received

    def _prune(
        self, layer: int, tokens: Tokens, received: Tensor | None, masked: bool, index: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        decision = self.pruner(tokens.state(layer, received))
        tokens.query = tokens.key = None
        before = tokens.hidden.layout
        staying = tokens.apply(decision, masked)
        if tokens.hidden.layout is not before:
            tokens.rotary = self._rotary(tokens.hidden)
        return index if staying is None else index.index_select(0, staying), decision.loss


def _live_lengths(tokens: Tokens) -> Tensor:
    return segment_sum(tokens.alive.double(), tokens.hidden.layout).long()
