"""Lightning module for a pruned classifier, judged by its accuracy."""

from __future__ import annotations

import math
from pathlib import Path

from torchmetrics.classification import MulticlassAccuracy

from tsdtp.models import PrunedClassifier
from tsdtp.models.texts import inputs_of
from tsdtp.tasks.examples import ExampleLog
from tsdtp.tasks.optim import AdamW
from tsdtp.tasks.pruning_task import PruningTask


class ClassificationTask(PruningTask[PrunedClassifier]):
    """Trains and evaluates a classifier.

    Args:
        model: the pruned classifier.
        num_labels: classes.
        optim: how to optimise.
        teacher: an unpruned model of the same task, or None.
        log: gathers every answer of a validation, or None.
        **settings: see `PruningTask`.
    """

    metric = "accuracy"

    def __init__(
        self,
        model: PrunedClassifier,
        num_labels: int,
        optim: AdamW,
        teacher: PrunedClassifier | None = None,
        log: ExampleLog | None = None,
        **settings,
    ) -> None:
        super().__init__(model, optim, teacher, **settings)
        self.log_of_examples = log
        self.accuracy = MulticlassAccuracy(num_labels, average="micro")

    def on_validation_epoch_start(self) -> None:
        """Forgets the answers of the validation before."""
        if self.log_of_examples is not None:
            self.log_of_examples.clear()

    def validation_step(self, batch: dict, batch_index: int) -> None:
        """Adds a batch to the metrics."""
        output = self.model(**inputs_of(batch))
        self.accuracy.update(output.logits, batch["labels"])
        self.count(output, batch)
        if self.log_of_examples is not None:
            self.log_of_examples.add(batch, output)

    def on_validation_epoch_end(self) -> None:
        """Sums up."""
        accuracy, n = self.accuracy.compute().item(), int(self.cost.compute()["n"])
        self.accuracy.reset()
        stderr = math.sqrt(accuracy * (1 - accuracy) / n)
        self.summarise({"accuracy": accuracy, "stderr": stderr})

    def save_outputs(self, folder: Path) -> None:
        """Writes every answer, where they were gathered."""
        if self.log_of_examples is not None:
            self.log_of_examples.save(folder, self.model.shape.num_layers)
