"""`tsdtp bench`: what its record holds, what it refuses, its sweep and the report of it."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tsdtp.cli import bench_cell
from tsdtp.cli.bench_inputs import random_rows, text_batches
from tsdtp.data.sources import read_synthetic
from tsdtp.data.tokenizer import train_tokenizer
from tsdtp.results import read_records

FAST = (
    "task.data.train_examples=64",
    "benchmark.examples=8",
    "benchmark.batch_size=4",
    "benchmark.rounds=2",
    "benchmark.min_time=0.001",
    "hardware.threads=1",
)
SCHEDULE = "keep_schedule=[1,0.5,0.5,0.5]"
WRITING = ("task=synthetic_translation", "model=tiny_marian")


def only_record():
    (record,) = read_records("outputs/bench")[0].values()
    return record


def test_random_tokens_at_a_keep_schedule(tsdtp):
    outcome = tsdtp("bench", *FAST, "pruning=topk", SCHEDULE, "tokens=40")
    assert outcome.code == 0, outcome.err
    assert "times as fast as unpruned and packed (sign test over the rounds: p =" in outcome.out
    assert "×" not in outcome.out, "0.78× would not say that it is slower"
    record = only_record()
    assert record.cost["tokens_kept"] == [1, 0.5, 0.5, 0.5]
    assert record.cost["flops_ratio"] < 0.8
    unpruned = record.cost["flops_per_example"] / record.cost["flops_ratio"]
    assert record.cost["hf_flops_per_example"] == pytest.approx(unpruned), "nothing is padded"
    assert record.cost["packed_flops_per_example"] < unpruned, "[CLS] alone is read at the end"
    speed, memory = record.speed, record.memory
    assert (speed["tokens"], speed["examples"]) == (40, 8)
    assert set(speed["confidence"]) == {"vs_packed", "vs_hf"}
    assert speed["roofline"]["reached"] == speed["roofline"]["bound_ms"] / speed["latency_ms"]
    assert 0 < speed["roofline"]["reached"] < 1
    assert memory["activation_mib"] <= memory["unpruned_activation_mib"]
    assert memory["hf_activation_mib"] == memory["unpruned_activation_mib"]
    assert "end_to_end" not in speed, "there is no text"
    assert record.provenance["command"].startswith("tsdtp bench")


def test_a_slot_says_how_many_threads(tsdtp, monkeypatch):
    """As where a launcher forks: torch was imported before, and took all cores."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torch.set_num_threads(2)
    outcome = tsdtp("bench", *FAST, "hardware.threads=null", "pruning=topk", SCHEDULE, "tokens=8")
    assert outcome.code == 0, outcome.err
    assert only_record().speed["threads"] == 1


def test_texts_are_also_measured_with_their_tokenising(tsdtp, monkeypatch):
    monkeypatch.setenv("RAYON_NUM_THREADS", "3")
    told = []

    def compare(*given, **how):
        told.append(os.environ["RAYON_NUM_THREADS"])
        return timed(*given, **how)

    timed = bench_cell.compare
    monkeypatch.setattr(bench_cell, "compare", compare)
    outcome = tsdtp("bench", *FAST, "pruning=dtp", "pruning.budget=0.6", "benchmark.order=sorted")
    assert outcome.code == 0, outcome.err
    record = only_record()
    assert record.identity["variant"] == "float32_batch4_sorted_threads1"
    assert record.speed["end_to_end"]["latency_ms"] > 0
    assert told == ["1"], "the tokenizer has no more cores than torch"
    assert os.environ["RAYON_NUM_THREADS"] == "3", "and is told what it was before"
    assert record.cost["hf_flops_per_example"] > record.cost["flops_per_example"]
    assert record.cost["flops_ratio"] == pytest.approx(0.6, abs=0.2), "8 examples, 64 to calibrate"


def test_any_launcher_runs_several_and_ours_one_at_a_time(tsdtp):
    arguments = ("-m", *FAST, "pruning=topk", SCHEDULE, "tokens=8,9")
    listed = tsdtp("bench", *arguments, "dry_run=true").out
    assert listed.endswith(
        "2 to run in 1 slot: how long is not known, for none like 2 of them has run\n"
    )
    assert "?" not in listed
    outcome = tsdtp("bench", *arguments, "hydra/launcher=basic")
    assert outcome.code == 0, outcome.err
    assert len(read_records("outputs/bench")[0]) == 2


def test_what_torch_cannot_measure_is_said_in_a_line_and_others_go_on(tsdtp, monkeypatch):
    def measure(*given, batches, **how):
        if batches[0]["input_ids"].shape[1] == 9:
            raise torch.OutOfMemoryError("CUDA out of memory.\nSee documentation")
        return measured(*given, batches=batches, **how)

    measured = bench_cell.measure
    monkeypatch.setattr(bench_cell, "measure", measure)
    arguments = (*FAST, "pruning=topk", SCHEDULE)
    outcome = tsdtp("bench", *arguments, "tokens=9")
    [line] = outcome.err.splitlines()
    assert outcome.code == 2
    assert line.startswith("tsdtp bench: the benchmark failed (CUDA out of memory.); ")
    outcome = tsdtp("bench", "-m", *arguments, "hydra/launcher=basic", "tokens=9,8")
    assert outcome.code == 1 and line in outcome.err
    assert only_record().speed["tokens"] == 8
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(torch.OutOfMemoryError):
        tsdtp("bench", *arguments, "tokens=9")


def test_the_truth_of_generated_words_is_not_tokenised():
    rows = {"validation": read_synthetic("pair", "validation", 3, seed=0)}
    cell: Any = SimpleNamespace(data=SimpleNamespace(load=lambda: rows, reported="validation"))
    (texts,) = text_batches(cell, [{"index": torch.tensor([2, 0])}])
    assert set(texts) == {"text", "text_pair", "label"}
    assert texts["text"] == [rows["validation"][i]["text"] for i in (2, 0)]


def test_random_words_are_no_special_tokens():
    tokenizer = train_tokenizer(["a b c d"], 20)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<last>"]})  # GPT-2's stand there
    (row,) = random_rows([200], tokenizer, torch.Generator().manual_seed(0))
    words = set(row["input_ids"][1:-1])
    assert len(row["input_ids"]) == 200 and words.isdisjoint(tokenizer.all_special_ids)
    assert len(words) == len(tokenizer) - len(set(tokenizer.all_special_ids))


def test_lengths_may_be_drawn(tsdtp):
    assert tsdtp("bench", *FAST, "tokens=[5,60]", "hardware=cpu_bf16", "model.blocks=2").code == 0
    record = only_record()
    assert record.identity["variant"] == "bfloat16_batch4_plain_threads1_tokens5_60_blocks2"
    padded, packed = record.memory["hf_activation_mib"], record.memory["unpruned_activation_mib"]
    assert padded > packed


def test_of_a_translator_the_encoder_and_the_whole_are_measured(tsdtp):
    words = (*WRITING, "tokens=40", "benchmark.new_tokens=3", "task.generation.num_beams=2")
    outcome = tsdtp("bench", *FAST, *words, "pruning=topk")
    assert outcome.code == 0, outcome.err
    record = only_record()
    assert record.identity["variant"].endswith("tokens40_beam2")
    writing = record.speed["generation"]
    assert (writing["num_beams"], writing["new_tokens"]) == (2, 3)
    assert writing["latency_ms"] > record.speed["latency_ms"], "encoding is a part of it"
    assert record.memory["generation"]["peak_mib"] > 0
    assert "end_to_end" not in record.speed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((SCHEDULE, "pruning.budget=0.5"), "keep_schedule or pruning.budget? valid is one of them"),
        (("keep_schedule=[0.5]",), "valid are 4 fractions, one a block"),
        (("tokens=0",), "tokens=0: valid are 3 to 128"),
        (("tokens=2",), "tokens=2: valid are 3 to 128"),
        (("tokens=[]",), "tokens=[]: valid is 3 or more, or [SHORTEST,LONGEST]"),
        (("tokens=some",), "tokens=some: valid is 3 or more, or [SHORTEST,LONGEST]"),
        (("keep_schedule=0.5",), "keep_schedule=0.5: valid is a list, a share for each block"),
        (("tokens=[64,200]",), "tokens=[64, 200]: valid are 3 to 128"),
        (("model.execution=masked",), "model.execution=masked: valid for tsdtp bench is packed"),
        (("benchmark.order=length",), "sorted"),
        (("keep_shedule=[1]",), "did you mean keep_schedule?"),
        ((*WRITING, "benchmark.new_tokens=129"), "benchmark.new_tokens=129: valid are up to 128"),
    ],
)
def test_what_cannot_be_measured_is_refused(tsdtp, arguments, message):
    outcome = tsdtp("bench", *FAST, *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert not list(Path().rglob("metrics.json"))


@pytest.mark.slow
def test_a_sweep_of_benchmarks_and_its_report(tsdtp):
    Path("mine.yaml").write_text(
        "command: bench\ncommon: [tokens=16]\n"
        f"grids:\n  - {{pruning: [topk, random], keep_schedule: ['{SCHEDULE[14:]}'], seed: [0]}}\n"
    )
    sweep = ("sweep", "sweep=mine.yaml", *FAST)
    first = tsdtp(*sweep)
    assert first.code == 0, first.err + first.out
    folder = Path("outputs/sweeps/mine")
    lines = folder.joinpath("speed.md").read_text().splitlines()
    assert [line.split()[1] for line in lines if "| float32" in line] == ["Random", "Top-k"]
    assert list(folder.glob("benchmark_*.png"))
    assert "2 of 2 cells are done" in tsdtp(*sweep).out
