import sys

import pytest
import torch

from tsdtp.benchmark import resident
from tsdtp.benchmark.resident import resident_peak_mib


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its peak")
def test_a_call_that_holds_more_peaks_higher():
    small = resident_peak_mib(lambda: torch.ones(2**10).sum())
    large = resident_peak_mib(lambda: torch.ones(2**25).sum())  # 128 MiB
    again = resident_peak_mib(lambda: torch.ones(2**10).sum())
    assert large - small == pytest.approx(128, abs=16)
    assert again - small < 16, "what an earlier call held shows"


def test_nothing_is_said_where_nobody_tells(monkeypatch, tmp_path):
    monkeypatch.setattr(resident, "_SELF", tmp_path / "nowhere")
    assert resident_peak_mib(lambda: None) is None
