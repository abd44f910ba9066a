"""Memory of one call and of a model's weights, in MiB (2^20 bytes)."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

MIB = 2**20
_CPU = 0  # the number of torch's CPU device type in a trace


def peak_mib(function: Callable[[], object], device: str | torch.device) -> float:
    """Peak memory that one call of `function` holds on top of what was held before it.

    The function is called twice: the first call pays for one-off allocations (library work spaces,
    caches) and is not measured. Weights and inputs that exist already do not count; the result
    does. Garbage from before neither counts nor is subtracted.

    Seen is what goes through torch's allocator of the device, temporary buffers inside operators
    included: bytes asked for, exact and the same on every run on a CPU; rounded up to blocks of
    512 bytes on CUDA. Not seen: other libraries' own buffers (e.g. MKL, numpy, the CUDA context),
    fragmentation and, on a CPU, what Python threads started by the function allocate.
    On a CPU the function must not run inside another torch profiler.

    Raises:
        ValueError: the device is neither a CPU nor a CUDA device.
    """
    device = torch.device(device)
    if device.type not in _PEAKS:
        raise ValueError(f"cannot measure memory on {device.type!r}, only on {sorted(_PEAKS)}")
    function()
    gc.collect()  # or garbage in cycles is freed during the call and hides some of its memory
    return _PEAKS[device.type](function, device) / MIB


def model_mib(model: nn.Module) -> float:
    """Parameters and buffers; a storage that several share (tied weights, views) counts once."""
    storages = [t.untyped_storage() for t in (*model.parameters(), *model.buffers())]
    return sum({(s.device, s.data_ptr()): s.nbytes() for s in storages}.values()) / MIB


def _cuda_peak(function: Callable[[], object], device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    function()
    return torch.cuda.max_memory_allocated(device) - before


def _cpu_peak(function: Callable[[], object], device: torch.device) -> int:
    # Resident set size has the granularity of malloc and seldom shrinks; a TorchDispatchMode sees
    # what operators return but not their temporary buffers. The profiler reports each allocation.
    with _silent_stderr(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        result = function()
    del result  # alive until here, as on CUDA
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        trace.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    memory = sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"])
    return _replay(e["args"] for e in memory if e["args"]["Device Type"] == _CPU)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Kineto prints a line at each start and stop, below Python; an exception still surfaces."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _replay(events: Iterable[dict]) -> int:
    """Most bytes live at once, from allocations (`Bytes` > 0) and releases in order of time.

    Blocks are followed by address, because the trace's own "Total Allocated" also counts what an
    earlier profile left behind, and a release may be of a block from before this one.
    """
    live: dict[int, int] = {}
    now = peak = 0
    for event in events:
        if event["Bytes"] > 0:
            live[event["Addr"]] = event["Bytes"]
            now += event["Bytes"]
            peak = max(peak, now)
        else:
            now -= live.pop(event["Addr"], 0)
    return peak


_PEAKS = {"cpu": _cpu_peak, "cuda": _cuda_peak}
