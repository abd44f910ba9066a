"""Order, arithmetic and errors of latency measurements; wall time is never asserted."""

from itertools import groupby, pairwise
from types import SimpleNamespace

import pytest
import torch

from tsdtp.benchmark import latency
from tsdtp.benchmark.latency import Timing, interleaved, ratio


class FakeTimer:
    """Stands for torch's Timer; the candidate returns the seconds that a call of it takes."""

    log: list[tuple[float, int, int]]

    def __init__(self, stmt, globals, num_threads):
        self.seconds = globals["run"]()
        self.threads = num_threads

    def timeit(self, number):
        FakeTimer.log.append((self.seconds, number, self.threads))
        return SimpleNamespace(median=self.seconds)


@pytest.fixture
def log(monkeypatch):
    monkeypatch.setattr(FakeTimer, "log", [], raising=False)
    monkeypatch.setattr(latency, "Timer", FakeTimer)
    return FakeTimer.log


def test_candidates_run_in_turn_after_a_warm_up_round():
    calls = []
    runs = {name: (lambda name=name: calls.append(name)) for name in "ABC"}
    timings = interleaved(runs, rounds=4, min_time=0)
    assert "".join(name for name, _ in groupby(calls)) == "ABC" * (1 + 4)
    assert list(timings) == ["A", "B", "C"]
    assert all(len(timing.seconds) == 4 for timing in timings.values())


def test_a_measurement_lasts_at_least_min_time(log):
    interleaved({"fast": lambda: 1e-5, "slow": lambda: 0.5}, rounds=3, min_time=0.2, threads=2)
    rounds = log[-2 * 3 :]
    assert [seconds for seconds, _, _ in rounds] == [1e-5, 0.5] * 3
    assert all(0.2 <= seconds * number < 0.6 for seconds, number, _ in rounds)
    assert {number for seconds, number, _ in log if seconds == 0.5} == {1}


def test_trials_grow_when_the_clock_shows_nothing(log, monkeypatch):
    readings = iter([0.0, 0.0, 0.01])
    timer = SimpleNamespace(
        timeit=lambda n: log.append(n) or SimpleNamespace(median=next(readings))
    )
    number = latency._calls("A", timer, min_time=0.1)
    assert log[-1] == number
    assert all(after >= 2 * before for before, after in pairwise(log))


@pytest.mark.parametrize("threads", [None, 1])
def test_threads_are_passed_on_and_restored(log, threads):
    interleaved({"A": lambda: 1.0}, rounds=2, min_time=0, threads=threads)
    assert {used for _, _, used in log} == {threads or torch.get_num_threads()}


def test_threads_setting_holds_during_calls_only():
    before, seen = torch.get_num_threads(), set()
    interleaved({"A": lambda: seen.add(torch.get_num_threads())}, 2, 0, threads=before + 1)
    assert seen == {before + 1}
    assert torch.get_num_threads() == before


def test_an_error_names_the_candidate_and_keeps_the_cause():
    def broken():
        raise KeyError("weights")

    with pytest.raises(RuntimeError, match="candidate 'pruned' failed: KeyError: 'weights'") as e:
        interleaved({"fine": lambda: None, "pruned": broken}, rounds=2, min_time=0)
    assert isinstance(e.value.__cause__, KeyError)


@pytest.mark.parametrize(("candidates", "rounds"), [({}, 7), ({"A": lambda: None}, 1)])
def test_nothing_to_compare_is_refused(candidates, rounds):
    with pytest.raises(ValueError, match="need a candidate and 2 rounds"):
        interleaved(candidates, rounds=rounds)


def test_timing_known_answers():
    timing = Timing((5.0, 1.0, 2.0, 4.0, 3.0))
    assert timing.median == 3


def test_ratio_known_answers():
    result = ratio(Timing((2.0, 6.0, 4.0)), Timing((1.0, 2.0, 4.0)))
    assert result.median == 4 / 2
    assert result.spread == pytest.approx(2.5 - 1.5)  # of the ratios 1, 2, 3


@pytest.mark.parametrize(
    ("seconds", "confidence"),
    [
        ((2.0,) * 7, 1 - 2 / 2**7),
        ((0.5,) * 7, 1 - 2 / 2**7),
        ((2.0, 0.5, 2.0, 0.5), 0),
        ((2.0, 2.0, 2.0, 0.5), 1 - 2 * (1 + 4) / 2**4),
        ((1.0, 1.0), 0),
        ((1.0, 1.0, 2.0, 2.0), 0.5),  # ties say nothing
    ],
)
def test_confidence_is_that_of_a_sign_test(seconds, confidence):
    once = Timing((1.0,) * len(seconds))
    assert ratio(Timing(seconds), once).confidence == pytest.approx(confidence)


def test_a_slow_round_cancels_in_the_ratio():
    result = ratio(Timing((3.0, 30.0, 3.3)), Timing((1.0, 10.0, 1.1)))
    assert result.median == pytest.approx(3)
    assert result.spread == pytest.approx(0)


def test_ratio_needs_the_same_rounds():
    with pytest.raises(ValueError):
        ratio(Timing((1.0, 2.0)), Timing((1.0, 2.0, 3.0)))
