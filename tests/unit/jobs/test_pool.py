"""Jobs run side by side, wait for what they need, and neither failures nor Ctrl-C leave a mess."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from tiny import REPOSITORY

from tsdtp.jobs.job import Job, State
from tsdtp.jobs.pool import Pool, run_all
from tsdtp.jobs.slots import Slot, gpu_slot

TWO = (Slot("a", {"PLACE": "a"}), Slot("b", {"PLACE": "b"}))
IMPORTS = ()


@pytest.fixture(autouse=True, params=[(), ("json",)], ids=["begun", "forked"])
def way(request, monkeypatch):
    """Every job in an interpreter of its own, or forked from one."""
    monkeypatch.setitem(globals(), "IMPORTS", request.param)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY / "tests"))


def job(folder: Path, name: str, code: str = "", after: tuple[str, ...] = ()) -> Job:
    """A job that runs Python code in its folder and then writes its result."""
    place = folder / name
    text = f"import os, time, signal; os.chdir({str(place)!r})\n{code}\nopen('result', 'w').close()"
    how = ["-m", "program"] if IMPORTS else ["-S", "-c"]
    return Job(name, place, [sys.executable, *how, text], place / "result", after)


def pool_of(slots=TWO, **settings) -> Pool:
    return Pool(slots, imports=IMPORTS, **settings)


def run(jobs: list[Job], slots=TWO, **settings) -> dict[str, Job]:
    run_all(pool_of(slots, **settings), jobs, lambda: None, poll=0.01)
    return {job.name: job for job in jobs}


@pytest.mark.parametrize(("missing", "state"), [(True, State.DONE), (False, State.FAILED)])
def test_a_result_that_another_process_has_made_since_the_plan_counts(tmp_path, missing, state):
    one = job(tmp_path, "one", "raise SystemExit(0)")
    one.folder.mkdir()
    one.result.touch()  # while the sweep was planned
    again = Job(one.name, one.folder, one.command, one.result, missing=missing)
    assert run([again])["one"].state is state


def test_a_failure_blocks_those_that_need_it_and_no_others(tmp_path):
    ended = run(
        [
            job(tmp_path, "raises", "raise ValueError('no such thing')"),
            job(tmp_path, "killed", "os.kill(os.getpid(), signal.SIGKILL)"),
            job(tmp_path, "silent", "raise SystemExit(0)"),
            job(tmp_path, "needs", after=("raises",)),
            job(tmp_path, "needs_needs", after=("needs",)),
            job(tmp_path, "good"),
            job(tmp_path, "needs_good", after=("good",)),
        ]
    )
    states = {name: str(job.state) for name, job in ended.items()}
    assert states == {
        **{"raises": "failed", "killed": "failed", "silent": "failed"},
        **{"needs": "blocked", "needs_needs": "blocked", "good": "done", "needs_good": "done"},
    }
    assert ended["raises"].note == "ValueError: no such thing"
    assert "SIGKILL" in ended["killed"].note
    assert ended["silent"].note == "ended without a new result; no output"
    assert ended["needs"].note == "needs raises"
    assert not (tmp_path / "needs").exists(), "a blocked job never started"


def test_the_reason_is_the_error_not_the_hints_after_it(tmp_path):
    code = """
import traceback
try:
    raise RuntimeError('no room\\nfor debugging look elsewhere')
except RuntimeError:
    traceback.print_exc()
print('set HINT=1')
raise SystemExit({code})"""
    ended = run([job(tmp_path, str(end), code.format(code=end)) for end in (1, 2)])
    assert ended["1"].note == "RuntimeError: no room"
    assert ended["2"].note == "set HINT=1", "it had got over that error"


def test_the_result_of_an_earlier_run_proves_nothing(tmp_path):
    for name in ("silent", "again"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "result").touch()
    ended = run([job(tmp_path, "silent", "raise SystemExit(0)"), job(tmp_path, "again")])
    assert ended["silent"].state is State.FAILED and "without a new result" in ended["silent"].note
    assert ended["again"].state is State.DONE


def test_two_slots_of_one_device_hold_two_jobs_at_once(tmp_path):
    """Each waits until the other is there as well."""
    here = [tmp_path / f"here{i}" for i in (0, 1)]
    meet = """
open({!r}, 'w').close()
end = time.time() + 20
while not os.path.exists({!r}):
    assert time.time() < end
    time.sleep(0.01)
"""
    codes = [meet.format(str(own), str(other)) for own, other in (here, here[::-1])]
    jobs = [job(tmp_path, str(i), code) for i, code in enumerate(codes)]
    ended = run(jobs, [gpu_slot("0"), gpu_slot("0")])
    assert {str(job.state) for job in ended.values()} == {"done"}


def test_a_job_starts_after_what_it_needs_whatever_the_order(tmp_path):
    stamp = "time.sleep(0.2); open('time', 'w').write(str(time.time()))"
    jobs = [job(tmp_path, "second", stamp, after=("first",)), job(tmp_path, "first", stamp)]
    run(jobs)
    times = [float((tmp_path / name / "time").read_text()) for name in ("first", "second")]
    assert times[1] - times[0] >= 0.2


def test_one_job_at_a_time_in_each_slot(tmp_path):
    code = (
        "open('place', 'w').write(os.environ['PLACE'] + os.environ['TSDTP_SLOTS']);"
        "open('begin', 'w').write(str(time.time())); time.sleep(0.1);"
        "open('end', 'w').write(str(time.time()))"
    )
    run([job(tmp_path, str(n), code) for n in range(8)])
    spans: dict[str, list] = {}
    for n in range(8):
        read = {k: (tmp_path / str(n) / k).read_text() for k in ("place", "begin", "end")}
        spans.setdefault(read["place"], []).append((float(read["begin"]), float(read["end"])))
    assert set(spans) == {"a2", "b2"}
    for place in spans.values():
        ordered = sorted(place)
        assert all(end <= begin for (_, end), (begin, _) in zip(ordered, ordered[1:], strict=False))


def test_a_job_runs_where_and_as_it_is_told_and_ends_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OURS", "of now")
    code = (
        "import atexit, sys; atexit.register(print, 'at exit'); print(os.environ['OURS'])\n"
        "open('session', 'w').write(str(os.getsid(0) == os.getpid()))\n"
        "open('place', 'w').write(place); print('to err', file=sys.stderr)"
    )
    told = job(tmp_path, "told", code)
    told.command[-1] = f"import os; place = os.getcwd()\n{told.command[-1]}"
    run([told])
    assert told.state is State.DONE
    assert (tmp_path / "told" / "place").read_text() == str(tmp_path)
    assert (tmp_path / "told" / "session").read_text() == "True"
    assert sorted(told.log.read_text().split("\n")) == ["", "at exit", "of now", "to err"]
    assert not told.log.stat().st_mode & 0o111, "no program"


def test_cores_bind_the_process(tmp_path):
    core = sorted(os.sched_getaffinity(0))[-1]
    code = (
        "end = time.time() + 20\n"
        "while len(os.sched_getaffinity(0)) > 1 and time.time() < end: time.sleep(0.01)\n"
        "open('cores', 'w').write(str(os.sched_getaffinity(0)))"
    )
    run([job(tmp_path, "bound", code)], slots=[Slot("last", {}, (core,))])
    assert (tmp_path / "bound" / "cores").read_text() == str({core})


@pytest.fixture
def interruptible():
    """Ctrl-C as in a terminal: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_ends_every_process_and_grandchild(tmp_path, interruptible):
    code = (
        "import subprocess; child = subprocess.Popen(['sleep', '60'])\n"
        "open('pids.tmp', 'w').write(f'{os.getpid()} {child.pid}')\n"
        "os.rename('pids.tmp', 'pids'); time.sleep(60)"
    )
    jobs = [
        job(tmp_path, "long", code),
        job(tmp_path, "short"),
        job(tmp_path, "later", after=("long",)),
    ]

    def interrupt() -> None:
        while not (tmp_path / "long" / "pids").exists() or jobs[1].state is not State.DONE:
            time.sleep(0.01)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run(jobs, grace=0.5)
    assert [str(job.state) for job in jobs] == ["stopped", "done", "waiting"]
    pids = [int(pid) for pid in (tmp_path / "long" / "pids").read_text().split()]
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    _, alive = psutil.wait_procs(left, timeout=5)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def test_an_error_of_ours_ends_every_process(tmp_path):
    slow, broken = job(tmp_path, "slow", "time.sleep(60)"), job(tmp_path, "broken")
    broken.command = [str(tmp_path / "no such program")]
    pool = pool_of(grace=0.5)
    with pytest.raises(FileNotFoundError, match="no such program"):
        run_all(pool, [slow, broken], lambda: None, poll=0.01)
    assert (slow.state, slow.note) == (State.STOPPED, "stopped")
    assert not pool.running and len(pool.free) == 2, "what did not start holds no slot"


def test_a_signal_without_a_name_is_a_failure_like_others(tmp_path):
    number = signal.SIGRTMIN + 1
    ended = run([job(tmp_path, "killed", f"os.kill(os.getpid(), {number})")])["killed"]
    assert ended.state is State.FAILED
    assert ended.note == f"killed by signal {number}; its log ends: no output"


def test_the_last_words_of_a_killed_job_are_told(tmp_path):
    code = "print('the training loss is nan', flush=True); os.kill(os.getpid(), 9)"
    ended = run([job(tmp_path, "killed", code)])["killed"]
    assert ended.note == (
        "killed by SIGKILL (out of memory?); its log ends: the training loss is nan"
    )


def test_a_second_interrupt_waits_for_nobody(tmp_path, interruptible):
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "open('pid.tmp', 'w').write(str(os.getpid())); os.rename('pid.tmp', 'pid'); time.sleep(60)"
    )
    pool, deaf = pool_of(grace=60), [job(tmp_path, name, code) for name in ("a", "b")]
    for each in deaf:
        pool.start(each)
    while not all((tmp_path / name / "pid").exists() for name in "ab"):
        time.sleep(0.01)
    found = [psutil.Process(int((tmp_path / name / "pid").read_text())) for name in "ab"]
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        pool.stop(deaf, "stopped")
    _, alive = psutil.wait_procs(found, timeout=5)
    assert all(process.status() == psutil.STATUS_ZOMBIE for process in alive)


def test_stopping_one_job_lets_the_others_go_on(tmp_path):
    pool = pool_of(grace=0.5)
    slow, fast = job(tmp_path, "slow", "time.sleep(60)"), job(tmp_path, "fast", "time.sleep(0.3)")
    pool.start(slow)
    pool.start(fast)
    pool.stop([slow], "hopeless")
    assert (slow.state, slow.note) == (State.STOPPED, "hopeless")
    while fast.state is State.RUNNING:
        pool.poll()
    assert fast.state is State.DONE and len(pool.free) == 2


def test_a_pool_needs_a_slot():
    with pytest.raises(ValueError, match="no slot"):
        Pool([])


@pytest.mark.slow
def test_sixty_jobs_leak_nothing(tmp_path):
    process = psutil.Process()
    run([job(tmp_path / "before", "first")])  # a server that forks stays
    before = process.num_fds(), process.num_threads(), process.children()
    jobs = [job(tmp_path, str(n)) for n in range(60)]
    ended = run(jobs)
    assert all(job.state is State.DONE for job in ended.values())
    assert len(list(tmp_path.rglob("result"))) == 61
    assert process.num_fds() <= before[0] and process.num_threads() <= before[1]
    assert process.children() == before[2]
