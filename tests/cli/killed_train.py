"""A training that kills itself where it would call a function of `tsdtp.cli.run`."""

import os
import signal
import sys

from tsdtp.cli import run, train


def main() -> None:
    """The first argument names the function, the others are those of `tsdtp train`."""
    setattr(run, sys.argv.pop(1), lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    train.main()
