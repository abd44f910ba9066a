"""What SIGTERM and Ctrl-C do to a command, so that nothing is left behind."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Takes SIGTERM, which batch systems send, like Ctrl-C, so that no process is left behind.

    So it does the end of a terminal, but under `nohup`. Ctrl-C itself is heard, too: a shell has
    what it starts in the background ignore it, and processes that we start would inherit that.
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
    """SIGTERM runs what is to be done in the end; who hears it and Ctrl-C is as before after it."""
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
