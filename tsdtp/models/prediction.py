"""What a pruned classifier says of texts, and which tokens it read to the end."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, cast

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from tsdtp.models.budget import packed_evaluation
from tsdtp.models.classifier import PrunedClassifier, check_classifies
from tsdtp.models.problem import probabilities_of
from tsdtp.models.pruned import PrunedModel
from tsdtp.models.texts import (
    Text,
    check_not_single,
    check_room,
    inputs_of,
    length_limit,
    tokenised,
    was_cut,
)
from tsdtp.pruning.base import check_count


@dataclass(frozen=True)
class Prediction:
    """What a classifier says of one text.

    Attributes:
        label: the most probable class, or the name of the largest number.
        probabilities: of each class, by itself where several may hold; empty beside `numbers`.
        numbers: by name what a model says that answers numbers, such as a score; else empty.
        tokens: of the text, special tokens included.
        kept_layers: in how many blocks each of them stayed.
        tokens_kept: tokens left after each block's dropping.
        truncated: whether the text was longer than the limit, and its end was not read.
    """

    label: str
    probabilities: dict[str, float]
    numbers: dict[str, float]
    tokens: list[str]
    kept_layers: list[int]
    tokens_kept: list[int]
    truncated: bool

    @property
    def kept(self) -> list[str]:
        """The tokens that stayed to the end."""
        pairs = zip(self.tokens, self.kept_layers, strict=True)
        return [token for token, layers in pairs if layers == len(self.tokens_kept)]


def predict(
    model: PrunedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[Text],
    *,
    batch_size: int = 32,
    max_length: int | None = None,
) -> Iterator[Prediction]:
    """Classifies texts, packed, one prediction each in their order.

    Args:
        model: as `tsdtp.from_pretrained` gives it; of a compiled one what it was before runs.
        tokenizer: of the model.
        texts: strings, or pairs of them for a pair task; read batch by batch.
        batch_size: texts in a batch; no prediction depends on it.
        max_length: see `tokenised`; never beyond the model's positions.

    Raises:
        ValueError: for a model that does not classify, one str in place of several, a batch of
            none, or what `check_text` refuses.
    """
    model = check_classifies(model)
    budget, strictness = model.pruner.budget, float(model.pruner.strictness)
    if budget is not None and budget < 1 and strictness == model.pruner.keep_all:
        warnings.warn(
            "nothing is dropped: not calibrated yet (tsdtp.calibrate), or within budget as it is",
            stacklevel=2,
        )
    check_count("batch_size", batch_size, of="")
    limit = check_room(tokenizer, length_limit(tokenizer, max_length, model.max_positions))
    source = iter(check_not_single(texts))
    batches = iter(lambda: list(islice(source, batch_size)), [])
    return chain.from_iterable(_of_batch(model, tokenizer, batch, limit) for batch in batches)


def _of_batch(
    model: PrunedClassifier, tokenizer: PreTrainedTokenizerBase, texts: list[Text], limit: int
) -> Iterator[Prediction]:
    (batch,) = tokenised(texts, tokenizer, len(texts), limit)
    with packed_evaluation(model) as evaluated:
        output = evaluated(**inputs_of(batch, model.device))
    # From a GPU once a batch, and not for every text.
    logits = output.logits.float().cpu()
    kept_layers, tokens_kept = output.kept_layers.cpu(), output.tokens_kept.cpu()
    for row, text in enumerate(texts):
        valid = batch["attention_mask"][row].bool()
        ids = batch["input_ids"][row][valid]
        segments = [text] if isinstance(text, str) else text
        yield Prediction(
            **_scores(model, logits[row]),
            tokens=cast(list[str], tokenizer.convert_ids_to_tokens(ids.tolist())),
            kept_layers=kept_layers[row][valid].tolist(),
            tokens_kept=tokens_kept[row].tolist(),
            truncated=was_cut(len(ids), limit, tokenizer, segments),
        )


def _scores(model: PrunedClassifier, logits: Tensor) -> dict[str, Any]:
    names = cast(dict[int, str], model.config.id2label or {})
    known = [names.get(i, f"LABEL_{i}") for i in range(len(logits))]  # of a new head, too
    label, probabilities = known[int(logits.argmax())], probabilities_of(logits, model.problem)
    if probabilities is None:
        numbers = dict(zip(known, logits.tolist(), strict=True))
        return {"label": label, "probabilities": {}, "numbers": numbers}
    by_name = dict.fromkeys(known, 0.0)
    for name, probability in zip(known, probabilities.tolist(), strict=True):
        by_name[name] += probability  # two classes may share a name
    return {"label": label, "probabilities": by_name, "numbers": {}}
