"""Slots divide the machine, and say so where they cannot."""

from __future__ import annotations

import pytest

from tsdtp.jobs import slots
from tsdtp.jobs.slots import cpu_slot, free_slots, gpu_slot


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(slots, "_own_cores", lambda: list(range(8)))


def test_cores_are_read_as_people_write_them():
    slot = cpu_slot("0-2,5")
    assert slot.cores == (0, 1, 2, 5)
    assert slot.environment == {"OMP_NUM_THREADS": "4"}


@pytest.mark.parametrize(
    ("text", "words"),
    [("a", "not CPU cores"), ("0-3-5", "not CPU cores"), ("7-9", "no such cores")],
)
def test_wrong_cores_are_named(text, words):
    with pytest.raises(ValueError, match=words):
        cpu_slot(text)


def test_cpu_cells_fill_the_machine_without_sharing_a_core():
    found = free_slots(0, threads=3)
    assert [slot.cores for slot in found] == [(0, 1, 2), (3, 4, 5)]
    assert free_slots(0, threads=None) == [slots.Slot("all cores")]
    assert free_slots(0, threads=99) == [slots.Slot("all cores")]


def test_each_gpu_cell_sees_its_own_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5,7,-1,9")  # CUDA reads no further than -1
    names = [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in free_slots(1, None)]
    assert names == ["2", "5", "7"]
    assert free_slots(2, None) == [gpu_slot("2,5")]
    assert free_slots(-1, None) == [gpu_slot("2,5,7")]
    with pytest.raises(ValueError, match="asks for 4 GPUs and 3"):
        free_slots(4, None)


def test_without_a_gpu_a_gpu_cell_has_no_slot(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ValueError, match="asks for 1 GPUs and 0"):
        free_slots(1, None)
