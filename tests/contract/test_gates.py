"""The gates of dropped and kept tokens, from one block that prunes to the next."""

from __future__ import annotations

import pytest
import torch
from methods import calibrated
from tiny import make_model

from tsdtp.models import PrunedClassifier
from tsdtp.packing import pack
from tsdtp.pruning import Decision, TokenPruner, TokenState


class DropsOnce(TokenPruner):
    """Every third token goes in the first block that prunes, none later; notes its gates."""

    def __init__(self, layers: list[int], fuse: str | None) -> None:
        super().__init__(4, layers, fuse=fuse)
        self.gates: list[torch.Tensor] = []

    def decide(self, state: TokenState) -> Decision:
        """By position."""
        first = state.layer == self.layers[0]
        keep = state.layout.positions % 3 != 1 if first else state.alive
        self.gates.append(keep.float().requires_grad_())
        return Decision(keep=keep, gate=self.gates[-1])


@pytest.mark.parametrize("fuse", [None, "similar"])
def test_a_dropped_token_learns_from_every_later_block(fuse, batch):
    """Whether further blocks prune or not: they cannot drop it a second time."""

    def gradient(*layers: int) -> torch.Tensor:
        pruner = DropsOnce([*layers], fuse)
        model = PrunedClassifier(make_model("bert"), pruner, execution="masked").eval()
        logits = model(**batch).logits
        return torch.autograd.grad(logits.square().sum(), pruner.gates[0])[0]

    once = gradient(0)
    dropped = pack(batch["input_ids"], batch["attention_mask"]).layout.positions % 3 == 1
    assert (once[dropped] != 0).all()
    if fuse is None:  # which merges in each block that prunes
        torch.testing.assert_close(gradient(0, 1, 2), once)


def test_soft_gates_multiply_from_layer_to_layer(batch):
    model, gates = calibrated(PrunedClassifier, make_model, "ltp", "bert").train(), []
    model.pruner.register_forward_hook(
        lambda _, states, decision: gates.append(torch.where(states[0].protected, 1, decision.gate))
    )
    weights = model.encode(**batch).weights
    assert len(gates) == 3 and all((each < 0.99).any() for each in gates)
    torch.testing.assert_close(weights, torch.stack(gates).prod(0))
