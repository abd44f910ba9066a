"""How many CPU threads a job computes with, and none after it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def use_threads(threads: int | None) -> None:
    """Has torch compute with so many threads on the CPU; None: as many as OpenMP is told to."""
    told = os.environ.get("OMP_NUM_THREADS", "")  # torch reads it when imported, maybe too early
    threads = threads or (int(told) if told.isdigit() else None)
    if threads:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # or Lightning sets its own


@contextmanager
def own_threads() -> Iterator[None]:
    """What a job sets by `use_threads` is not what the next one in this process is told."""
    told, threads = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        os.environ.pop("OMP_NUM_THREADS", None)
        os.environ.update({} if told is None else {"OMP_NUM_THREADS": told})
