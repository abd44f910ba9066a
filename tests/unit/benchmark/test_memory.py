"""Known answers for memory; exact on a CPU."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tsdtp.benchmark.memory import MIB, _replay, model_mib, peak_mib


def block(mib, device="cpu"):
    return torch.empty(mib * MIB, dtype=torch.uint8, device=device)


def ten_then_twenty(device="cpu"):
    first = block(10, device)
    del first
    return block(20, device)


def test_released_memory_is_not_counted():
    assert peak_mib(ten_then_twenty, "cpu") == 20


def test_memory_held_together_adds_up():
    assert peak_mib(lambda: (block(10), block(20)), "cpu") == 30


def test_the_peak_may_lie_before_the_end():
    def function():
        both = block(10), block(20)
        del both
        return block(5)

    assert peak_mib(function, "cpu") == 30


def test_nothing_allocated_is_zero():
    assert peak_mib(lambda: None, "cpu") == 0


def test_a_matmul_chain_holds_its_intermediates():
    x = torch.zeros(512, 512)  # 1 MiB

    def chain():
        y = x @ x
        y = y @ x
        return (y @ x).sum()

    with torch.inference_mode():
        assert peak_mib(chain, "cpu") == pytest.approx(2, abs=1e-3)


def test_buffers_inside_an_operator_count():
    x = torch.ones(MIB)  # 4 MiB
    chosen = x > 0
    assert peak_mib(lambda: x[chosen], "cpu") >= 8 + 4  # int64 indices and the result


def test_garbage_from_before_changes_nothing():
    held = [block(7)]

    class Cycle:
        def __init__(self):
            self.myself, self.memory = self, block(8)

    def function():
        Cycle()  # each call leaves garbage that only the collector frees
        held.clear()
        return ten_then_twenty()

    assert [peak_mib(function, "cpu") for _ in range(3)] == [28, 28, 28]


def test_results_kept_and_freed_between_measurements_change_nothing():
    kept = []
    assert peak_mib(lambda: kept.append(block(5)), "cpu") == 5
    kept.clear()
    assert peak_mib(ten_then_twenty, "cpu") == 20


def test_a_release_of_memory_from_an_earlier_measurement_is_not_subtracted():
    kept = []
    peak_mib(lambda: kept.append(block(5)), "cpu")
    calls = []

    def function():
        calls.append(None)
        if len(calls) == 2:  # the measured one
            kept.clear()
        return block(4)

    assert peak_mib(function, "cpu") == 4


def test_replay_follows_addresses():
    events = [(1, 10), (9, -100), (1, -10), (1, 6), (2, 5), (1, -6), (2, -5)]
    assert _replay({"Addr": address, "Bytes": size} for address, size in events) == 11


def test_an_error_leaves_the_profiler_usable():
    with pytest.raises(ZeroDivisionError):
        peak_mib(lambda: 1 / 0, "cpu")
    calls = []

    def fails_when_measured():
        calls.append(None)
        if len(calls) == 2:
            raise KeyError

    with pytest.raises(KeyError):
        peak_mib(fails_when_measured, "cpu")
    assert peak_mib(ten_then_twenty, "cpu") == 20


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match=r"'meta', only on \['cpu', 'cuda'\]"):
        peak_mib(lambda: None, "meta")


def test_attention_in_parts_needs_less_than_in_full():
    x = torch.zeros(1, 2, 512, 32)  # scores would be 2 MiB
    full = peak_mib(lambda: (x @ x.mT).softmax(-1) @ x, "cpu")
    fused = peak_mib(lambda: F.scaled_dot_product_attention(x, x, x), "cpu")
    assert full >= 4 > 2 > fused


def test_model_counts_parameters_and_buffers():
    model = nn.Linear(512, 512, bias=False)  # 1 MiB
    model.register_buffer("table", torch.zeros(512, 256))
    assert model_mib(model) == 1.5


def test_model_counts_shared_storages_once():
    model = nn.Sequential(nn.Linear(512, 512, bias=False), nn.Linear(512, 512, bias=False))
    model[1].weight = nn.Parameter(model[0].weight.detach())  # two parameters, one storage
    assert model_mib(model) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_released_memory_is_not_counted_on_cuda():
    held = block(50, "cuda")
    assert peak_mib(lambda: ten_then_twenty("cuda"), "cuda") == 20
    del held
