"""Several exponential averages of one training's weights: a callback, given as `+callbacks.avg`."""

import torch
from pytorch_lightning.callbacks import Callback


class Averages(Callback):
    """Writes them to `out` when the training ends; `decays` of the weights at each step."""

    def __init__(self, out, decays):
        self.out, self.decays = out, list(decays)

    def on_train_start(self, trainer, module):
        weights = dict(module.named_parameters())
        self.averages = [{k: w.detach().clone() for k, w in weights.items()} for _ in self.decays]
        self.epochs = []

    @torch.no_grad()
    def on_train_batch_end(self, trainer, module, *_):
        step, now = trainer.global_step, list(module.parameters())
        for decay, average in zip(self.decays, self.averages, strict=True):
            decay = min(decay, step / (step + 10))
            torch._foreach_lerp_(list(average.values()), now, 1 - decay)

    def on_train_epoch_end(self, trainer, module):
        self.epochs.append({k: w.detach().clone() for k, w in module.named_parameters()})

    def on_train_end(self, trainer, module):
        ema = dict(zip(self.decays, self.averages, strict=True))
        torch.save({"ema": ema, "epochs": self.epochs}, self.out)
