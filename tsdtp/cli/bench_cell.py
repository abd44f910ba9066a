"""The sections of a benchmark's record: cost, speed and memory on given batches."""

from __future__ import annotations

import os
import time
from functools import partial

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig

from tsdtp.benchmark.activations import activation_bytes
from tsdtp.benchmark.candidates import forwards
from tsdtp.benchmark.resident import resident_peak_mib
from tsdtp.benchmark.roofline import bound, encoder_work, measure_limits
from tsdtp.benchmark.scheduled import Scheduled
from tsdtp.benchmark.speed import compare, forward_each, heaviest, measure
from tsdtp.cli.bench_inputs import Batch, from_text, random_batches, task_batches, text_batches
from tsdtp.cli.cells import build_cell
from tsdtp.cli.config import ConfigError, plain
from tsdtp.cli.measure import as_measured, benchmark_settings, fit_budget, generation
from tsdtp.models import PrunedModel
from tsdtp.models.budget import packed_evaluation
from tsdtp.models.cost import encoder_flops, unpruned_flops
from tsdtp.models.texts import inputs_of
from tsdtp.tasks.metrics import PruningCost


def measure_cell(config: DictConfig) -> dict:
    """Builds a cell, measures it, and gives its `cost`, `speed` and `memory`.

    Of a translator, speed and memory are the encoder's, and `generation` those of the whole.

    Raises:
        ConfigError: for an execution that is not packed, whose FLOPs would not be those counted;
            for a budget beside a keep schedule, a schedule that does not fit, or more words to
            write than the model has places.
    """
    if (execution := config.model.execution) not in (None, "packed"):
        raise ConfigError(f"model.execution={execution}: valid for tsdtp bench is packed")
    if threads := config.hardware.threads:  # the tokenizer's own, before it has any
        os.environ["RAYON_NUM_THREADS"] = str(threads)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    cell = build_cell(config)
    cell.check_timed()
    if config.keep_schedule is not None:
        if config.pruning.get("budget") is not None:
            raise ConfigError("keep_schedule or pruning.budget? valid is one of them")
        cell.pruner = Scheduled(cell.pruner, list(config.keep_schedule))
    how = benchmark_settings(config, cell.device)
    begun = time.perf_counter()
    model = cell.model()
    loading = time.perf_counter() - begun
    model = as_measured(model, config, cell.device)
    fit_budget(model, cell)
    batches = random_batches(cell) if config.tokens is not None else task_batches(cell)
    inputs = [inputs_of(batch, cell.device) for batch in batches]
    speed, memory = measure(**forwards(model), batches=inputs, module=model, **how)
    cost, lengths = spent(model, inputs)
    tokens = plain(config)["tokens"]
    speed |= {"order": config.benchmark.order, "tokens": tokens, "loading_seconds": loading}
    speed["roofline"] = roofline(model, lengths, how["threads"], speed["latency_ms"])
    if cell.writes:
        speed["generation"], memory["generation"] = generation(model, inputs, how, cell)
    elif tokens is None:
        texts = text_batches(cell, batches)
        readers = {name: partial(from_text, cell, f) for name, f in forwards(model).items()}
        timed = {k: how[k] for k in ("rounds", "min_time", "threads", "device")}
        speed["end_to_end"] = compare(readers, texts, **timed)
    return {"cost": cost, "speed": speed, "memory": {**memory, **held(model, inputs, lengths)}}


def spent(model: PrunedModel, batches: list[Batch]) -> tuple[dict, list[torch.Tensor]]:
    """The `cost` section on these batches, and [L + 1, B] token counts of each."""
    shape = model.shape
    cost, lengths, padded, packed = PruningCost(shape, model.pruner), [], 0.0, 0.0
    cost.to(model.device)
    keeping = model.unpruned().pruner
    with packed_evaluation(model) as evaluated:
        for batch in batches:
            out = evaluated(**batch)
            cost.update(out, batch["attention_mask"].bool(), None)
            lengths.append(out.lengths.cpu())
            padded += unpruned_flops(shape, _padded(lengths[-1])).sum().item()
            packed += encoder_flops(shape, _unpruned(lengths[-1]), keeping).sum().item()
    figures = cost.compute()
    examples = figures.pop("n")
    others = {"packed_flops_per_example": packed, "hf_flops_per_example": padded}
    return {**figures, **{name: total / examples for name, total in others.items()}}, lengths


def _unpruned(lengths: torch.Tensor) -> torch.Tensor:
    """Every sequence as long in every layer as it entered."""
    return lengths[:1].expand_as(lengths)


def _padded(lengths: torch.Tensor) -> torch.Tensor:
    """Every sequence as long as the batch is wide, in every layer."""
    return lengths[0].max().expand_as(lengths)


def roofline(model: PrunedModel, lengths: list[torch.Tensor], threads: int, ms: float) -> dict:
    """How close the packed encoder comes to the machine's limits, measured here and now."""
    limits = measure_limits(model.shape, model.device, model.dtype, threads)
    size, shape = model.dtype.itemsize, model.shape
    parts = [bound(encoder_work(shape, n, model.pruner, size), limits) for n in lengths]
    seconds, moved = (sum(values) for values in zip(*parts, strict=True))
    bound_ms = 1e3 * seconds / len(lengths)
    return {
        "gflops_per_second": limits.flops_per_second / 1e9,
        "gib_per_second": limits.bytes_per_second / 2**30,
        "mib_per_batch": moved / len(lengths) / 2**20,
        "bound_ms": bound_ms,
        "reached": bound_ms / ms,
    }


def held(model: PrunedModel, batches: list[Batch], lengths: list[torch.Tensor]) -> dict:
    """Resident memory and reckoned activations, each of the batch that takes most."""
    found, size = heaviest(batches), model.dtype.itemsize
    layouts = {"": lambda counts: counts, "unpruned_": _unpruned, "hf_": _padded}
    reckoned = {
        f"{name}activation_mib": max(
            activation_bytes(model.shape, layout(lengths[i]), size) / 2**20 for i in found
        )
        for name, layout in layouts.items()
    }
    names = {"pruned": "", "unpruned": "unpruned_", "plain": "hf_"}
    heavy = [batches[i] for i in found]
    resident = {
        f"{names[name]}resident_mib": resident_peak_mib(partial(forward_each, forward, heavy))
        for name, forward in forwards(model).items()
    }
    return {**reckoned, **resident}
