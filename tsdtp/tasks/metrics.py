"""What a pruned model spends and what it keeps, summed over examples and processes."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from tsdtp.models.cost import EncoderShape, encoder_flops, unpruned_flops
from tsdtp.models.pruned import PrunedOutput
from tsdtp.pruning import TokenPruner


class PruningCost(Metric):
    """FLOPs spent, tokens kept per layer, and how well the kept tokens match a ground truth.

    Args:
        shape: of the encoder.
        pruner: whose scoring is counted.
    """

    full_state_update = False
    pruner: TokenPruner
    examples: Tensor
    spent: Tensor
    full: Tensor
    tokens: Tensor
    hits: Tensor
    kept: Tensor
    decisive: Tensor
    kept_per_layer: Tensor

    def __init__(self, shape: EncoderShape, pruner: TokenPruner) -> None:
        super().__init__()
        self.shape = shape
        object.__setattr__(self, "pruner", pruner)  # the model's, not a submodule of the metric
        for name in ("examples", "spent", "full", "tokens", "hits", "kept", "decisive"):
            self._sum(name, torch.zeros((), dtype=torch.float64))
        self._sum("kept_per_layer", torch.zeros(shape.num_layers, dtype=torch.float64))

    def _sum(self, name: str, zero: Tensor) -> None:
        self.add_state(name, default=zero, dist_reduce_fx="sum")

    def update(self, output: PrunedOutput, eligible: Tensor, decisive: Tensor | None) -> None:
        """Adds a batch.

        Args:
            output: of a pruned classifier.
            eligible: [B, S] bool, tokens that could be dropped.
            decisive: [B, S] bool or None, tokens that decide the label.
        """
        assert output.tokens_entered is not None and output.tokens_kept is not None
        assert output.kept_layers is not None
        lengths = torch.cat([output.tokens_entered[None], output.tokens_kept])
        self.examples += lengths.shape[1]
        self.spent += encoder_flops(self.shape, lengths, self.pruner).sum()
        self.full += unpruned_flops(self.shape, lengths).sum()
        self.tokens += lengths[0].sum()
        self.kept_per_layer += lengths[1:].sum(1)
        if decisive is not None:
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
