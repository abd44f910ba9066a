"""Output into a pipe whose reader has gone, as `head` does, ends a command without a word."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class _Pipe(io.FileIO):
    """A file descriptor; a broken pipe ends the process, whoever writes: Hydra, argparse, rich."""

    def write(self, *data) -> int | None:
        try:
            return super().write(*data)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # for what is written on the way out
            sys.exit(128 + signal.SIGPIPE)  # as shells have it


@contextmanager
def ending_with_reader() -> Iterator[None]:
    """Has writing to a broken pipe end this process; streams that somebody put there stay."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)  # None where it is closed
        if stream is not None and stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _ending(stream))
    try:
        yield
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()  # while it can still say how the process ends


def _ending(stream: TextIO) -> TextIO:
    """The same stream, but for how it ends."""
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False)),
        stream.encoding,
        stream.errors,
        line_buffering=bool(stream.line_buffering),
        write_through=getattr(stream, "write_through", False),
    )
