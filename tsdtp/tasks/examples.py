"""What a classifier answered to each example, beside the record: for paired tests and for eyes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tsdtp.atomic import write_atomic
from tsdtp.models.output import PrunedOutput
from tsdtp.results import EXAMPLES, PREDICTIONS

_COLUMNS = ("index", "label", "prediction", "probability", "tokens", "kept")


class ExampleLog:
    """Gathers answers, batch by batch, and writes them.

    Args:
        tokenizer: that made the inputs; None gathers no tokens.
        labels: names of the classes.
        shown: examples, the first of the split, whose tokens are kept.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase | None = None,
        labels: Sequence[str] = (),
        shown: int = 64,
    ) -> None:
        self.tokenizer, self.labels, self.shown = tokenizer, list(labels), shown
        self.clear()

    def clear(self) -> None:
        """Forgets everything."""
        self.rows: list[dict] = []
        self.examples: list[dict] = []

    def add(self, batch: dict[str, Tensor], output: PrunedOutput) -> None:
        """Adds a batch with labels and index, and the model's answer."""
        assert output.logits is not None and output.kept_layers is not None
        probabilities, classes = output.logits.float().softmax(-1).max(-1)
        entered, kept = output.tokens_entered, output.tokens_kept
        assert entered is not None and kept is not None
        columns = (batch["index"], batch["labels"], classes, probabilities, entered, kept[:, -1])
        rows = zip(*(column.tolist() for column in columns), strict=True)  # few waits for a GPU
        for row, values in enumerate(rows):
            answer = dict(zip(_COLUMNS, values, strict=True))
            answer["probability"] = round(answer["probability"], 4)
            self.rows.append(answer)
            if answer["index"] < self.shown and self.tokenizer is not None:
                valid = batch["attention_mask"][row].bool()
                tokens = self.tokenizer.convert_ids_to_tokens(
                    batch["input_ids"][row][valid].tolist()
                )
                stays = output.kept_layers[row][valid].tolist()
                self.examples.append(answer | {"tokens": tokens, "kept_layers": stays})

    def save(self, folder: Path, layers: int) -> None:
        """Writes `predictions.csv.gz`, a row an example, and `examples.json`, some with tokens."""
        if not self.rows:
            return
        table = pd.DataFrame(self.rows).sort_values("index").to_csv(index=False)
        write_atomic(folder / PREDICTIONS, gzip.compress(table.encode(), mtime=0))
        if self.examples:
            examples = sorted(self.examples, key=lambda example: example["index"])
            shown = {"labels": self.labels, "layers": layers, "examples": examples}
            write_atomic(folder / EXAMPLES, json.dumps(shown, ensure_ascii=False) + "\n")
