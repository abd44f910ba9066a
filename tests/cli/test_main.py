"""The program itself, whatever the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tsdtp import __version__
from tsdtp.cli.main import main


def test_the_version_is_said_without_torch():
    said = "import sys; from tsdtp.cli.main import main; sys.argv = ['tsdtp', '--version']; main()"
    said += "; assert not {'torch', 'hydra'} & set(sys.modules)"
    ended = subprocess.run([sys.executable, "-c", said], capture_output=True, text=True)
    assert ended.returncode == 0 and ended.stdout == f"tsdtp {__version__}\n"


def test_garbage_is_searched_as_usual_from_the_first_run_on():
    said = """
import gc
usual = gc.get_threshold()
from tsdtp.cli.garbage import gc_as_usual, gc_rarely
gc_rarely()
frozen = gc.get_freeze_count()  # what never dies is, in Python 3.12
assert gc.get_threshold() > usual and frozen < 1000 < len(gc.get_objects())
gc_as_usual()
assert gc.get_threshold() == usual and gc.get_freeze_count() > frozen + 1000
"""
    subprocess.run([sys.executable, "-c", said], check=True)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["validate", "--help"]])
def test_a_reader_that_has_gone_ends_any_command_without_a_word(arguments):
    """As `tsdtp train --help | head` does: by argparse, by Hydra, or when the process ends."""
    reader, output = os.pipe()
    os.close(reader)
    said = "from tsdtp.cli.main import main; main()"
    command = [sys.executable, "-c", said, *arguments]
    with open(output, "w") as closed:
        ended = subprocess.run(command, stdout=closed, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (128 + signal.SIGPIPE, "")


def test_ctrl_c_ends_any_command_in_one_line(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    module = sys.modules["__main__"]
    monkeypatch.setattr(module, "__spec__", module.__spec__)
    monkeypatch.setattr("tsdtp.cli.predict.main", interrupted)
    monkeypatch.setattr("tsdtp.cli.main.gc_rarely", lambda: None)
    monkeypatch.setattr(sys, "argv", ["tsdtp", "predict", "run=none"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130 and capsys.readouterr().err == "tsdtp predict: interrupted\n"
