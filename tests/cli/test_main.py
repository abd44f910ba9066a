"""The program itself, whatever the command."""

from __future__ import annotations

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


def test_ctrl_c_ends_any_command_in_one_line(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    module = sys.modules["__main__"]
    monkeypatch.setattr(module, "__spec__", module.__spec__)
    monkeypatch.setattr("tsdtp.cli.predict.main", interrupted)
    monkeypatch.setattr(sys, "argv", ["tsdtp", "predict", "run=none"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 130 and capsys.readouterr().err == "tsdtp predict: interrupted\n"
