"""FSDP without a GPU, which Lightning and its way of gathering weights do not know."""

from __future__ import annotations

import torch
from pytorch_lightning.strategies import FSDPStrategy
from torch.distributed.fsdp import FullyShardedDataParallel


class ShardedOnCpu(FSDPStrategy):
    """Parts of the weights in each of several CPU processes."""

    def _setup_model(self, model):
        return FullyShardedDataParallel(model, device_id=torch.device("cpu"), **self.kwargs)

    def lightning_module_state_dict(self):
        return self.model.state_dict()
