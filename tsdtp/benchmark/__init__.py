"""What a run costs: latency, memory, and the machine it was measured on.

`environment()` is imported from its own module, so that `tsdtp.benchmark.environment` stays one.
"""

from tsdtp.benchmark.latency import Timing, interleaved, ratio
from tsdtp.benchmark.memory import model_mib, peak_mib
from tsdtp.benchmark.speed import compare, forward_each, heaviest, measure

__all__ = [
    "Timing",
    "compare",
    "forward_each",
    "heaviest",
    "interleaved",
    "measure",
    "model_mib",
    "peak_mib",
    "ratio",
]
