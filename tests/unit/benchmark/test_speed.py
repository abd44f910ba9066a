"""Shape and arithmetic of `measure`; wall time is never asserted."""

import json

import pytest
import torch
from torch import nn

from tsdtp.benchmark import speed
from tsdtp.benchmark.latency import Timing
from tsdtp.benchmark.speed import measure

BATCHES = [
    {"input_ids": torch.zeros(4, 8, dtype=torch.long), "attention_mask": torch.ones(4, 8)},
    {"input_ids": torch.zeros(4, 16, dtype=torch.long), "attention_mask": torch.ones(4, 16)},
    {"input_ids": torch.zeros(2, 16, dtype=torch.long), "attention_mask": torch.ones(2, 16)},
]


def run(pruned=len, unpruned=len, plain=len, batches=BATCHES, **changes):
    settings = {"device": "cpu", "dtype": torch.float32, "rounds": 2, "min_time": 0}
    settings |= {"threads": 1, "batch_size": 4}
    return measure(pruned, unpruned, plain, batches, **settings | changes)


def test_all_keys_are_there_and_json():
    figures, memory = json.loads(json.dumps(run()))
    assert set(figures) == {
        *("device", "dtype", "batch_size", "threads", "rounds", "examples"),
        *("examples_per_second", "latency_ms", "vs_packed", "vs_hf", "spread", "confidence"),
    }
    assert set(figures["spread"]) == {"examples_per_second", "vs_packed", "vs_hf"}
    assert set(memory) == {"peak_mib", "vs_packed", "hf_peak_mib", "weights_mib"}


def test_what_was_asked_for_is_recorded():
    figures, _ = run(dtype=torch.bfloat16, rounds=3, batch_size=4, threads=None)
    assert (figures["device"], figures["dtype"]) == ("cpu", "bfloat16")
    assert (figures["rounds"], figures["batch_size"]) == (3, 4)
    assert figures["threads"] == torch.get_num_threads()
    assert figures["examples"] == 4 + 4 + 2


def test_known_answers_from_given_timings(monkeypatch):
    seconds = {"pruned": (1.0, 2.0, 4.0), "unpruned": (4.0, 6.0, 8.0), "plain": (8.0, 8.0, 8.0)}
    timings = {name: Timing(values) for name, values in seconds.items()}
    monkeypatch.setattr(speed, "interleaved", lambda *_: timings)
    figures, _ = run()
    assert figures["examples_per_second"] == 10 / 2
    assert figures["latency_ms"] == pytest.approx(2000 / 3)
    assert (figures["vs_packed"], figures["vs_hf"]) == (3, 4)
    assert figures["spread"] == {
        "examples_per_second": pytest.approx(7.5 - 3.75),  # of 10, 5, 2.5
        "vs_packed": pytest.approx(3.5 - 2.5),  # of 4, 3, 2
        "vs_hf": pytest.approx(6 - 3),  # of 8, 4, 2
    }
    assert figures["confidence"] == {"vs_packed": 0.75, "vs_hf": 0.75}  # three coins alike: 1 in 4


def test_candidates_see_every_batch_in_order_and_in_inference_mode():
    seen = []

    def forward(batch):
        assert torch.is_inference_mode_enabled()
        seen.append(batch["input_ids"].shape)

    run(pruned=forward)
    timed = seen[:-2]  # the last two calls measure memory
    shapes = [batch["input_ids"].shape for batch in BATCHES]
    assert timed == shapes * (len(timed) // len(shapes))
    assert seen[-2:] == [(4, 16), (4, 16)]


def test_memory_is_that_of_the_largest_batch():
    def holds(factor):
        return lambda batch: torch.empty(batch["input_ids"].numel() * factor * 2**14).bool()

    _, memory = run(pruned=holds(1), unpruned=holds(2), plain=holds(4))
    assert memory["peak_mib"] == 4 + 1  # MiB: 2^20 elements, four bytes each and one as bool
    assert memory["vs_packed"] == 2
    assert memory["hf_peak_mib"] == 20


def test_memory_of_what_computes_tokens_alone_is_that_of_the_batch_with_most_of_them():
    long, dense = torch.zeros(4, 16), torch.ones(4, 8)
    long[:, :2] = 1
    batches = [{"input_ids": mask.long(), "attention_mask": mask} for mask in (long, dense)]

    def packed(batch):
        return torch.empty(int(batch["attention_mask"].sum()) * 2**15)

    def padded(batch):
        return torch.empty(batch["input_ids"].numel() * 2**15)

    _, memory = run(pruned=packed, unpruned=packed, plain=padded, batches=batches)
    assert (memory["peak_mib"], memory["hf_peak_mib"]) == (4, 8)


def test_no_memory_gives_no_ratio():
    _, memory = run()
    assert (memory["peak_mib"], memory["vs_packed"]) == (0, None)


def test_weights_are_a_figure_of_their_own():
    assert run()[1]["weights_mib"] is None
    assert run(module=nn.Linear(512, 512, bias=False))[1]["weights_mib"] == 1


def test_the_threads_setting_holds_for_all_calls_and_is_restored():
    before, seen = torch.get_num_threads(), set()
    run(plain=lambda _: seen.add(torch.get_num_threads()), threads=before + 1)
    assert seen == {before + 1}
    assert torch.get_num_threads() == before


def test_an_error_names_the_candidate():
    with pytest.raises(RuntimeError, match="candidate 'unpruned' failed: TypeError"):
        run(unpruned=lambda: None)


def test_no_batches_are_refused():
    with pytest.raises(ValueError, match="no batches"):
        run(batches=[])
