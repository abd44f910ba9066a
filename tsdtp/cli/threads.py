"""How many CPU threads a job computes with, and none after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Who computes with how many: torch and Lightning, and the tokenizers.
_TOLD = ("OMP_NUM_THREADS", "RAYON_NUM_THREADS")


def use_threads(threads: int | None) -> None:
    """Has torch compute with so many threads on the CPU; None: as many as OpenMP is told to."""
    told = os.environ.get("OMP_NUM_THREADS", "")  # torch reads it when imported, maybe too early
    threads = threads or (int(told) if told.isdigit() else None)
    if threads:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # or Lightning sets its own


@contextmanager
def own_threads() -> Iterator[None]:
    """What a job sets of its threads is not what the next one in this process is told."""
    told = {name: os.environ[name] for name in _TOLD if name in os.environ}
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for name in _TOLD:
            os.environ.pop(name, None)
        os.environ.update(told)
