"""What a pruned model spends and what it keeps, summed over examples and processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from tsdtp.models.cost import EncoderShape, encoder_flops, unpruned_flops
from tsdtp.models.decoder_cost import DecoderShape
from tsdtp.models.output import PrunedOutput
from tsdtp.pruning import TokenPruner


class PruningCost(Metric):
    """FLOPs spent, tokens kept per layer, and how well the kept tokens match a ground truth.

    Sums in float64, whatever the precision of the model that they are of.

    Args:
        shape: of the encoder.
        pruner: whose scoring is counted; None: the plain encoder, all blocks on all tokens.
    """

    full_state_update = False
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


class TranslationCost(PruningCost):
    """The same, and the FLOPs of cross-attention and decoder for reference targets.

    References and not translations: every method then writes the same number of tokens.

    Args:
        shape: of the encoder.
        decoder: of the decoder.
        pruner: see `PruningCost`.
    """

    own: Tensor
    cross_spent: Tensor
    cross_full: Tensor

    def __init__(
        self, shape: EncoderShape, decoder: DecoderShape, pruner: TokenPruner | None
    ) -> None:
        super().__init__(shape, pruner)
        self.decoder = decoder
        self._sum("own", "cross_spent", "cross_full")

    def add_targets(self, output: PrunedOutput, labels: Tensor) -> None:
        """Adds a batch's labels [B, N], negative where none is."""
        lengths, written = output.lengths, (labels >= 0).sum(1).double()
        self.own += self.decoder.own_flops(written).sum()
        self.cross_spent += self.decoder.cross_attention_flops(lengths[-1], written).sum()
        self.cross_full += self.decoder.cross_attention_flops(lengths[0], written).sum()

    def compute(self) -> dict:
        """As `PruningCost`, and ratios to the unpruned model: of all, and of cross-attention."""
        spent = self.spent + self.cross_spent + self.own
        return super().compute() | {
            "translation_flops_ratio": (spent / (self.full + self.cross_full + self.own)).item(),
            "cross_attention_flops_ratio": (self.cross_spent / self.cross_full).item(),
        }
