"""A packed forward waits for the device where it has to: once a batch, once a pruning block."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from methods import METHODS, calibrated
from tiny import make_model
from torch.utils._python_dispatch import TorchDispatchMode

from tsdtp.models import PrunedClassifier

# In a block, beside how many tokens stay: the sizes of the parts that a method compares.
OWN = {"tome": 2, "ts_dtp:fuse=similar": 2, "ts_dtp_described": 1}
WAITING = ("_local_scalar_dense", "nonzero", "masked_select")


class Waits(TorchDispatchMode):
    """Counts what makes a CUDA device tell the host a number before it goes on."""

    def __init__(self, monkeypatch) -> None:
        super().__init__()
        self.seen = Counter()
        real = torch.Tensor.tolist

        def tolist(tensor: torch.Tensor) -> list:
            self.seen["tolist"] += 1
            return real(tensor)

        monkeypatch.setattr(torch.Tensor, "tolist", tolist)

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        name = operator._schema.name.removeprefix("aten::")
        indices = args[1] if name in ("index", "index_put", "_index_put_impl_") else ()
        by_mask = any(i is not None and i.dtype == torch.bool for i in indices)
        of_any_length = name == "repeat_interleave" and not (kwargs or {}).get("output_size")
        if name in WAITING or by_mask or of_any_length:
            self.seen[name] += 1
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("method", METHODS)
def test_a_forward_waits_once_and_once_a_pruning_block(method, batch, monkeypatch):
    model = calibrated(PrunedClassifier, make_model, method, "bert").eval()
    blocks = sum(model.pruner.prunes(layer) for layer in range(model.pruner.depth))
    types = torch.zeros_like(batch["input_ids"])
    with torch.no_grad(), Waits(monkeypatch) as waits:
        model(**batch, token_type_ids=types)
    of_depth = method == "depth"  # a number of the model's, which a checkpoint brings
    assert waits.seen.total() == 1 + of_depth + blocks * (1 + OWN.get(method, 0)), waits.seen
