"""What a pruned model spends and what it keeps, summed over examples and processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from tsdtp.models.cost import EncoderShape, encoder_flops, unpruned_flops
from tsdtp.models.decoder_cost import DecoderShape
from tsdtp.models.output import PrunedOutput
from tsdtp.pruning import TokenPruner


class _Sums(Metric):
    """Sums in float64, whatever the precision of the model that they are of."""

    full_state_update = False

    def _sum(self, *names: str, size: tuple[int, ...] = ()) -> None:
        for name in names:
            zero = torch.zeros(size, dtype=torch.float64)
            self.add_state(name, default=zero, dist_reduce_fx="sum")

    def _apply(self, fn, exclude_state=""):
        """Keeps torchmetrics' guard against casts where `.to(dtype)` would get past it."""
        super()._apply(fn, exclude_state)
        for name, default in self._defaults.items():
            assert isinstance(default, Tensor)
            self._defaults[name] = default.double()
            setattr(self, name, getattr(self, name).double())
        return self


class PruningCost(_Sums):
    """FLOPs spent, tokens kept per layer, and how well the kept tokens match a ground truth.

    Args:
        shape: of the encoder.
        pruner: whose scoring is counted; None: the plain encoder, all blocks on all tokens.
    """

    pruner: TokenPruner | None
    examples: Tensor
    spent: Tensor
    full: Tensor
    tokens: Tensor
    hits: Tensor
    kept: Tensor
    decisive: Tensor
    kept_per_layer: Tensor

    def __init__(self, shape: EncoderShape, pruner: TokenPruner | None) -> None:
        super().__init__()
        self.shape = shape
        object.__setattr__(self, "pruner", pruner)  # the model's, not a submodule of the metric
        self._sum("examples", "spent", "full", "tokens", "hits", "kept", "decisive")
        self._sum("kept_per_layer", size=(shape.num_layers,))

    def update(self, output: PrunedOutput, eligible: Tensor, decisive: Tensor | None) -> None:
        """Adds a batch.

        Args:
            output: of a pruned model.
            eligible: [B, S] bool, tokens that could be dropped.
            decisive: [B, S] bool or None, tokens that decide the label.
        """
        lengths = output.lengths
        self.examples += lengths.shape[1]
        self.spent += encoder_flops(self.shape, lengths, self.pruner).sum()
        self.full += unpruned_flops(self.shape, lengths).sum()
        self.tokens += lengths[0].sum()
        self.kept_per_layer += lengths[1:].sum(1)
        if decisive is not None:
            assert output.kept_layers is not None
            stayed = (output.kept_layers == self.shape.num_layers) & eligible
            self.hits += (stayed & decisive).sum()
            self.kept += stayed.sum()
            self.decisive += (decisive & eligible).sum()

    def compute(self) -> dict:
        """`n`, the `cost` section of a record, and `keep_precision`, `keep_recall` where known."""
        cost = {
            "n": int(self.examples),
            "flops_per_example": (self.spent / self.examples).item(),
            "flops_ratio": (self.spent / self.full).item(),
            "tokens_kept": (self.kept_per_layer / self.tokens).tolist(),
        }
        if self.decisive > 0:
            cost["keep_precision"] = (self.hits / self.kept.clamp(min=1)).item()
            cost["keep_recall"] = (self.hits / self.decisive).item()
        return cost


class TranslationCost(_Sums):
    """FLOPs of encoder, cross-attention and decoder for reference targets, summed over examples.

    References and not translations: every method then writes the same number of tokens.

    Args:
        shape: of the encoder.
        decoder: of the decoder.
        pruner: whose scoring is counted; None: the plain encoder, all blocks on all tokens.
    """

    pruner: TokenPruner | None
    spent: Tensor
    full: Tensor
    cross_spent: Tensor
    cross_full: Tensor

    def __init__(
        self, shape: EncoderShape, decoder: DecoderShape, pruner: TokenPruner | None
    ) -> None:
        super().__init__()
        self.shape, self.decoder = shape, decoder
        object.__setattr__(self, "pruner", pruner)  # the model's, not a submodule of the metric
        self._sum("spent", "full", "cross_spent", "cross_full")

    def update(self, output: PrunedOutput, labels: Tensor) -> None:
        """Adds a batch: of a pruned model's output, and labels [B, N], negative where none is."""
        lengths = output.lengths
        written = (labels >= 0).sum(1).double()
        own = self.decoder.own_flops(written).sum()
        cross = [self.decoder.cross_attention_flops(lengths[i], written).sum() for i in (-1, 0)]
        self.cross_spent += cross[0]
        self.cross_full += cross[1]
        self.spent += encoder_flops(self.shape, lengths, self.pruner).sum() + cross[0] + own
        self.full += unpruned_flops(self.shape, lengths).sum() + cross[1] + own

    def compute(self) -> dict:
        """Ratios to the unpruned model: of everything, and of cross-attention alone."""
        return {
            "translation_flops_ratio": (self.spent / self.full).item(),
            "cross_attention_flops_ratio": (self.cross_spent / self.cross_full).item(),
        }
