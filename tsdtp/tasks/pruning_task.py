"""Lightning module for any pruned model: task loss, auxiliary loss, distillation, cost."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.distributed.fsdp import FullyShardedDataParallel

from tsdtp.models import PrunedModel, PrunedOutput
from tsdtp.models.attribution import layer_conductance
from tsdtp.models.texts import attribution_inputs, inputs_of
from tsdtp.packing import pack
from tsdtp.pruning import TokenPruner
from tsdtp.tasks.distillation import TRUSTED, altered, cross_entropy, divergence
from tsdtp.tasks.metrics import PruningCost
from tsdtp.tasks.optim import AdamW, matrices
from tsdtp.tasks.teachers import Teachers

Model = TypeVar("Model", bound=PrunedModel)


class PruningTask(pl.LightningModule, Generic[Model]):
    """Trains; what it is judged by, a subclass measures.

    The loss is (1 - w) * cross-entropy + w * KL to the teachers' logits, plus the pruner's
    auxiliary loss times the model's `auxiliary_weight`; w = distillation where there is a teacher,
    0 otherwise. What teachers say of a text is remembered under the batch's `index` [B], so that
    names one and the same text in every epoch; a batch without has them asked each time.

    Args:
        model: the pruned model.
        optim: how to optimise.
        teacher: an unpruned model of the same task, or None.
        others: further ones, whose probabilities are averaged with the teacher's.
        distillation: weight of the teachers' logits, 0 to 1.
        temperature: of the distillation.
        sampled: what is asked anew is asked of one of the teachers instead of all, see `Teachers`.
        noise: share of the words that are exchanged in half of the training texts, of which no
            label is learnt then, see `tsdtp.tasks.distillation.altered`.
        attribution_every: compute the teacher's attributions in every n-th step, for methods that
            learn from them; 0: never.
        attribution_steps: see `layer_conductance`.
        mask_id: token id of their baseline.
        label_smoothing: of the cross-entropy.

    Attributes:
        metric: name of the figure that the task is judged by.
        summary: sections `quality` and `cost` of a record, after validation.
    """

    model: Model
    teachers: Teachers
    metric: str

    def __init__(
        self,
        model: Model,
        optim: AdamW,
        teacher: Model | None = None,
        others: Sequence[Model] = (),
        distillation: float = 0.5,
        temperature: float = 1.0,
        sampled: bool = False,
        noise: float = 0.0,
        attribution_every: int = 1,
        attribution_steps: int = 3,
        mask_id: int = 0,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.model, self.optim = model, optim
        # No submodules: they stay out of checkpoints.
        taught_by = [] if teacher is None else [teacher, *others]
        self.teachers = Teachers(taught_by, temperature, sampled)
        self.distillation, self.temperature, self.noise = distillation, temperature, noise
        self.attribution_every, self.attribution_steps = attribution_every, attribution_steps
        self.mask_id, self.label_smoothing = mask_id, label_smoothing
        self.matrices = matrices(model)  # to be known before a strategy flattens the weights
        self.cost = PruningCost(model.shape, self.scoring)
        self.summary: dict = {}

    @property
    def teacher(self) -> PrunedModel | None:
        """The first teacher, whose attributions are learnt; None where nobody teaches."""
        return self.teachers.models[0] if self.teachers else None

    @property
    def scoring(self) -> TokenPruner | None:
        """The pruner whose scoring costs something: none where the plain model runs."""
        return None if self.model.execution == "hf" else self.model.pruner

    def forward(self, **inputs) -> PrunedOutput:
        """The model's own forward."""
        return self.model(**inputs)

    def setup(self, stage: str) -> None:
        """Every process begins with the pruner of the first one, which alone was taught."""
        if self.trainer.world_size > 1:
            taught = {k: v.cpu() for k, v in self.model.pruner.state_dict().items()}
            self.model.pruner.load_state_dict(self.trainer.strategy.broadcast(taught))

    def on_fit_start(self) -> None:
        """The teachers follow the module to its device."""
        self.teachers.start(self.device)

    def training_step(self, batch: dict, batch_index: int) -> Tensor:
        """Loss of one batch."""
        self.model.pruner.progress = self.global_step / self.trainer.estimated_stepping_batches
        if self.noise and self.teachers:
            batch = altered(batch, self.model.special_ids, self.noise)
        labels = batch["labels"]
        # Without labels: the loss is of the task, below.
        inputs = {**inputs_of(batch), **self.teacher_forcing(labels)}
        output = self.model(**inputs, target=self._target(batch))
        assert output.logits is not None
        scale = self._loss_scale(labels)
        loss = self._task_loss(output.logits.float(), batch)
        self.log("train/loss", scale * loss.detach(), sync_dist=True)
        self.log("train/lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        if output.auxiliary_loss is not None:
            self.log("train/auxiliary_loss", scale * output.auxiliary_loss.detach(), sync_dist=True)
            loss = loss + self.model.auxiliary_weight * output.auxiliary_loss
        return scale * loss

    def teacher_forcing(self, labels: Tensor) -> dict[str, Tensor]:
        """What a decoder reads of the labels in training; a classifier has none."""
        return {}

    def on_fit_end(self) -> None:
        """What anneals has annealed: the last step began a little earlier, and a training that was
        over when it was resumed has no step."""
        self.model.pruner.progress = 1.0

    def _loss_scale(self, labels: Tensor) -> float:
        """Labels here over the mean of all processes: averaging them is then fair to each."""
        if self.trainer.world_size == 1:
            return 1.0
        count = (labels >= 0).sum().float()
        mean = self.trainer.strategy.reduce(count.clone())  # which works in place
        return float(count / mean)

    def _task_loss(self, logits: Tensor, batch: dict) -> Tensor:
        """Of logits [B, ..., C] and labels [B, ...]; negative labels do not count."""
        labels, trusted = batch["labels"], batch.get(TRUSTED)
        loss = cross_entropy(logits, labels, trusted, self.label_smoothing)
        if not self.teachers or self.distillation == 0:
            return loss
        goal = self.teachers.goal(inputs_of(batch), labels, batch.get("index"), trusted)
        match = divergence(logits[labels >= 0], goal, self.temperature)
        return (1 - self.distillation) * loss + self.distillation * match

    def _target(self, batch: dict) -> Tensor | None:
        """[B, S, L] the teacher's attributions; zeros (no opinion) in the steps without any."""
        pruner = self.model.pruner
        if self.teacher is None or not self.attribution_every:
            return None
        if not (pruner.needs_target and pruner.learns):
            return None
        if self.global_step % self.attribution_every:
            ids = batch["input_ids"]
            return torch.zeros(*ids.shape, self.model.shape.num_layers, device=ids.device)
        return layer_conductance(
            self.teacher,
            **attribution_inputs(batch),
            mask_id=self.mask_id,
            layers=pruner.layers,
            steps=self.attribution_steps,
        )

    def count(self, output: PrunedOutput, batch: dict) -> None:
        """Adds what the model spent on a batch, and which tokens it kept."""
        live = batch["attention_mask"].bool()
        free = ~self.model.protected(pack(batch["input_ids"], live))
        eligible = live.masked_scatter(live, free)
        decisive = batch.get("decisive")
        self.cost.update(output, eligible, None if decisive is None else decisive.bool())

    def summarise(self, quality: dict) -> None:
        """Keeps the summary that a record is made of, and logs its scalars.

        Args:
            quality: of all processes together; `n` comes from the cost.
        """
        cost = self.cost.compute()
        matched = {k: cost.pop(k) for k in ("keep_precision", "keep_recall") if k in cost}
        self.summary = {"quality": {**quality, "n": cost.pop("n"), **matched}, "cost": cost}
        self.cost.reset()
        logged = {self.metric: quality[self.metric], "flops_ratio": cost["flops_ratio"]}
        logged |= {f"tokens_kept/layer{i}": kept for i, kept in enumerate(cost["tokens_kept"])}
        # Every process has computed the same from what all of them counted.
        self.log_dict({f"val/{name}": value for name, value in logged.items()}, sync_dist=True)

    def save_outputs(self, folder: Path) -> None:
        """Writes what was measured, where it is worth reading, beside the record."""

    def on_before_optimizer_step(self, optimizer) -> None:
        """Of a pruner that rests sharded weights have gradients of 0, by which Adam would go on."""
        if not self.model.pruner.learns:
            for parameter in self.model.pruner.parameters():
                parameter.grad = None

    def configure_gradient_clipping(
        self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None
    ) -> None:
        """Clips the norm; Lightning's own refuses fused optimizers, bfloat16 or not."""
        if not gradient_clip_val:
            return
        if scaler := getattr(self.trainer.precision_plugin, "scaler", None):  # of float16
            scaler.unscale_(optimizer)  # which a fused optimizer would do in its step, too late
        whole = self.trainer.strategy.model
        if isinstance(whole, FullyShardedDataParallel):  # each process holds a part of the norm
            whole.clip_grad_norm_(gradient_clip_val)
        else:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)

    def on_train_start(self) -> None:
        """Sets the rates of this training, where it goes on from one with other steps."""
        scheduler: Any = self.lr_schedulers()
        rates = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        for group, (base, share) in zip(scheduler.optimizer.param_groups, rates, strict=True):
            group["lr"] = base * share(scheduler.last_epoch)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with a per-step schedule over the whole training."""
        steps = int(self.trainer.estimated_stepping_batches)
        optimizer, scheduler = self.optim.build(self.model, steps, self.matrices)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
