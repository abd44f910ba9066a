"""Peak resident memory of one call, as the operating system counts it (Linux)."""

from __future__ import annotations

import ctypes
import gc
import re
from collections.abc import Callable
from pathlib import Path

_SELF = Path("/proc/self")
_RESET_PEAK = "5"  # proc(5), clear_refs


def resident_peak_mib(function: Callable[[], object]) -> float | None:
    """Peak resident set size of this process during one call, in MiB; None where nobody says.

    The whole process counts: interpreter, libraries, weights, everything. What the allocator holds
    free from before is given back first, so that an earlier, larger call does not show.
    """
    function()  # pays for one-off allocations, as in `peak_mib`
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
        (_SELF / "clear_refs").write_text(_RESET_PEAK)
        function()
        status = (_SELF / "status").read_text()
    except (OSError, AttributeError):
        return None
    found = re.search(r"VmHWM:\s*(\d+) kB", status)
    return int(found[1]) / 1024 if found else None
