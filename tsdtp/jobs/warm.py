"""Python programs forked from a process that has done their imports.

Those can take longer than the programs themselves. It is the standard library's fork server: a
process that imports, computes nothing, and forks.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import ModuleType

_CONTEXT = get_context("forkserver")


def prepare(imports: Sequence[str]) -> None:
    """Returns when the server has imported these modules; later calls import nothing more."""
    _CONTEXT.set_forkserver_preload(list(imports))
    _start(os.getpid).join()  # whoever interrupts this leaves nothing behind that computes


def _start(target: Callable, *arguments) -> ForkServerProcess:
    process = _CONTEXT.Process(target=target, args=arguments)
    own = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")  # or the fork would import our own
    try:
        process.start()
    finally:
        sys.modules["__main__"] = own
    return process


class Forked:
    """`python -m MODULE ARGUMENTS`, with what a pool uses of `subprocess.Popen`.

    Args:
        module: whose `main` runs.
        arguments: of its command line.
        log: file of its output.
        environment: all of its variables.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]
    ) -> None:
        given = (module, list(arguments), str(log.absolute()), dict(environment), os.getcwd())
        self._process = _start(_run, *given)
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative after a signal; None while it runs."""
        if self._code is None and (code := self._process.exitcode) is not None:
            self._code = code
            self._process.close()
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """The exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        if self._code is None:
            self._process.join(timeout)
        if (code := self.poll()) is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code


def _run(module: str, arguments: list[str], log: str, variables: dict[str, str], place: str):
    """What the fork does: becomes as good as an interpreter of its own, and runs the program."""
    os.setsid()  # Ctrl-C reaches it through the pool alone
    signal.signal(signal.SIGINT, signal.default_int_handler)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.chdir(place)
    os.environ.clear()
    os.environ.update(variables)
    program = import_module(module)
    sys.modules["__main__"] = program  # processes that it starts find out by it how it was started
    sys.argv = [str(program.__file__), *arguments]
    try:
        sys.exit(program.main())
    finally:
        atexit._run_exitfuncs()  # multiprocessing ends its processes without
