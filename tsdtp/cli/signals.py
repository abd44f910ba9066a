"""What SIGTERM and Ctrl-C do to a command, so that nothing is left behind."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Treats SIGTERM (of batch systems) and SIGHUP (a closed terminal) like Ctrl-C.

    So no process is left behind. Under `nohup` SIGHUP stays ignored. Ctrl-C itself is enabled
    again: shells disable it for background jobs, and processes that we start would inherit that.
    """
    numbers = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, signal.default_int_handler) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Turns SIGTERM into SystemExit, so that `finally` runs; then restores both handlers."""
    numbers = (signal.SIGTERM, signal.SIGINT) if in_main_thread() else ()
    before = [signal.getsignal(number) for number in numbers]
    try:
        if numbers and before[0] is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def in_main_thread() -> bool:
    """Whether this is the thread that may say what becomes of signals."""
    return threading.current_thread() is threading.main_thread()
