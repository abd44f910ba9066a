"""What a pruned model is compared with: itself unpruned, and the plain Hugging Face forward."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from transformers import PreTrainedTokenizerBase

from tsdtp.benchmark.speed import measure
from tsdtp.models import PrunedModel
from tsdtp.models.budget import packed_evaluation, spent_ratio
from tsdtp.models.modes import uncompiled
from tsdtp.models.texts import Batch, Text, batches_of, inputs_of


def measure_speed(
    model: PrunedModel,
    data: Iterable[Batch] | Iterable[Text],
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    batch_size: int = 32,
    rounds: int = 7,
    min_time: float = 0.2,
    threads: int | None = None,
) -> dict[str, Any]:
    """Measures what pruning is worth on this machine, on texts of yours.

    The pruned model, the same model unpruned and packed, and the plain Hugging Face forward take
    turns over the same batches, so that drift of the machine hits all alike.

    Args:
        model: any pruned model, calibrated; of a translator the encoder is measured.
        data: batches on the model's device, or texts (or pairs of them) with a tokenizer.
        tokenizer: of the model, where data are texts.
        batch_size: of texts, in their order.
        rounds: measurements of each, at least 2.
        min_time: seconds of one measurement, at least.
        threads: of torch on a CPU; default: as they are set.

    Returns:
        flops_ratio, spent of the plain encoder's FLOPs on these texts, and the sections `speed`
        and `memory` of `tsdtp.benchmark.measure`.

    Raises:
        ValueError: for no data, texts without a tokenizer, fewer than 2 rounds, or a compiled
            model, of which its parts would be timed as they were before.

    Example:
        >>> tsdtp.measure_speed(model, texts, tokenizer)["speed"]["vs_hf"]
    """
    if uncompiled(model) is not model:
        raise ValueError("a compiled model cannot be taken apart; valid: the model that it is of")
    given = batches_of(data, tokenizer, model, batch_size)
    batches = [inputs_of(batch) for batch in given]
    with packed_evaluation(model) as evaluated:
        speed, memory = measure(
            **forwards(evaluated),
            batches=batches,
            device=model.device,
            dtype=model.dtype,
            rounds=rounds,
            min_time=min_time,
            threads=threads,
            batch_size=max(len(batch["input_ids"]) for batch in batches),
            module=evaluated,
        )
    return {"flops_ratio": spent_ratio(model, batches), "speed": speed, "memory": memory}


def candidates(model: PrunedModel) -> dict[str, PrunedModel]:
    """What is compared: `pruned`, `unpruned` (packed as well) and `plain` (Hugging Face)."""
    unpruned = model.unpruned()
    return {
        "pruned": model.with_execution(model.execution),
        "unpruned": unpruned.with_execution("packed"),
        "plain": unpruned.with_execution("hf"),
    }


def forwards(model: PrunedModel) -> dict[str, Callable[[dict], object]]:
    """The forward of each candidate, as a function of a batch."""
    return {name: unpacked(each) for name, each in candidates(model).items()}


def unpacked(function: Callable) -> Callable[[dict], object]:
    """The same function of a batch instead of keyword arguments."""
    return lambda batch: function(**batch)
