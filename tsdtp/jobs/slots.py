"""Slots: the devices that one job at a time has to itself."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile


@dataclass(frozen=True)
class Slot:
    """A share of the machine.

    Attributes:
        name: GPU ids or CPU cores, as the user would write them.
        environment: variables that bind a process to it.
        cores: CPU cores to bind the process to; empty: any.
        gpu: whether it holds GPUs.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    cores: tuple[int, ...] = ()
    gpu: bool = False


_ALL = Slot("all cores")


def gpu_slot(ids: str) -> Slot:
    """A slot of GPUs, such as `0` or `0,1`, or `all`; a job in it sees these alone."""
    if ids == "all":
        return Slot("all gpus", gpu=True)
    return Slot(f"gpu {ids}", {"CUDA_VISIBLE_DEVICES": ids}, gpu=True)


def cpu_slot(cores: str) -> Slot:
    """A slot of CPU cores, such as `0` or `0-3,8`, or `all` of them.

    Raises:
        ValueError: for something else, or for a core that this process may not use.
    """
    if cores == "all":
        return _ALL
    try:
        parts = [part.partition("-") for part in cores.split(",")]
        ends = [(int(low), int(high) if dash else int(low)) for low, dash, high in parts]
        chosen = tuple(core for low, high in ends for core in range(low, high + 1))
    except ValueError:
        raise ValueError(f"slot {cores!r}: not CPU cores; valid: 0 or 0-3 or 0-3,8") from None
    if not chosen or set(chosen) - set(_own_cores()):
        raise ValueError(f"slot {cores!r}: no such cores here; valid: {_own_cores()}")
    return Slot(f"cpu {cores}", {"OMP_NUM_THREADS": str(len(chosen))}, chosen)


def free_slots(gpus: int, threads: int | None) -> list[Slot]:
    """As many slots as the machine has room for.

    Args:
        gpus: that each job uses; 0: it computes on the CPU; -1: all.
        threads: CPU threads that each job uses; None: all of them, so there is one slot.

    Raises:
        ValueError: if the machine has fewer GPUs than one job needs.
    """
    if gpus:
        ids = _gpu_ids()
        if len(ids) < abs(gpus):
            raise ValueError(f"each job asks for {abs(gpus)} GPUs and {len(ids)} can be seen")
        gpus = len(ids) if gpus < 0 else gpus
        return [gpu_slot(",".join(group)) for group in _groups(ids, gpus)]
    cores = [str(core) for core in _own_cores()]
    if threads is None or threads >= len(cores):
        return [_ALL]
    return [cpu_slot(",".join(group)) for group in _groups(cores, threads)]


def _groups(items: Sequence[str], size: int) -> list[Sequence[str]]:
    whole = len(items) // size * size
    return [items[start : start + size] for start in range(0, whole, size)]


def _own_cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _gpu_ids() -> list[str]:
    """The GPUs that this process may use, without importing torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        parts = (part.strip() for part in visible.split(","))
        return [*takewhile(lambda part: part != "-1", filter(None, parts))]  # as CUDA reads it
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        found = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return found.stdout.split()
