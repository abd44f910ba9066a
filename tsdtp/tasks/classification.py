"""Lightning module for a pruned classifier, judged by its accuracy."""

from __future__ import annotations

import math

from torchmetrics.classification import MulticlassAccuracy

from tsdtp.models import PrunedClassifier
from tsdtp.models.budget import inputs_of
from tsdtp.tasks.optim import AdamW
from tsdtp.tasks.pruning_task import PruningTask


class ClassificationTask(PruningTask[PrunedClassifier]):
    """Trains and evaluates a classifier.

    Args:
        model: the pruned classifier.
        num_labels: classes.
        optim: how to optimise.
        teacher: an unpruned model of the same task, or None.
        **settings: see `PruningTask`.
    """

    metric = "accuracy"

    def __init__(
        self,
        model: PrunedClassifier,
        num_labels: int,
        optim: AdamW,
        teacher: PrunedClassifier | None = None,
        **settings,
    ) -> None:
        super().__init__(model, optim, teacher, **settings)
        self.accuracy = MulticlassAccuracy(num_labels, average="micro")

    def validation_step(self, batch: dict, batch_index: int) -> None:
        """Adds a batch to the metrics."""
        output = self.model(**inputs_of(batch))
        self.accuracy.update(output.logits, batch["labels"])
        self.count(output, batch)

    def on_validation_epoch_end(self) -> None:
        """Sums up."""
        accuracy, n = self.accuracy.compute().item(), int(self.cost.compute()["n"])
        self.accuracy.reset()
        stderr = math.sqrt(accuracy * (1 - accuracy) / n)
        self.summarise({"accuracy": accuracy, "stderr": stderr})
