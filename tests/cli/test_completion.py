"""Help is there, and the script completes in a real bash."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

ASK = """
COMP_LINE="$1"; COMP_POINT=${#COMP_LINE}
read -ra COMP_WORDS <<< "$COMP_LINE"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMP_WORDBREAKS=' '; _tsdtp 2>/dev/null; printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize("command", ["train", "bench", "eval", "sweep", "tune"])
def test_every_command_helps(tsdtp, command):
    outcome = tsdtp(command, "--help")
    assert outcome.code == 0 and f"tsdtp {command}" in outcome.out and "Example:" in outcome.out
    if command == "sweep":
        assert re.search("^  smoke +Six methods", outcome.out, re.MULTILINE)
        assert "dry_run=true" in outcome.out


@pytest.mark.parametrize(
    ("command", "has", "lacks"),
    [("eval", "hardware", "task"), ("bench", "pruning", "optim"), ("train", "optim", "sweep")],
)
def test_help_lists_the_groups_that_a_command_has(tsdtp, command, has, lacks):
    out = tsdtp(command, "--help").out.split("== Config ==")[0]
    assert re.search(rf"^{has}: \w+, ", out, re.MULTILINE)
    assert not re.search(rf"^{lacks}: ", out, re.MULTILINE) and "hydra/" not in out


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tsdtp pre", ["predict"]),
        ("tsdtp train pruning=ts_dtp_", ["pruning=ts_dtp_described", "pruning=ts_dtp_notebook"]),
        ("tsdtp sweep sweep=abl", ["sweep=ablation"]),
        ("tsdtp train hydra/launcher=pro", ["hydra/launcher=process"]),
        ("tsdtp train nothing_like_it", [""]),
    ],
)
def test_bash_completes(tsdtp, line, expected):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash here")
    script = tsdtp("completion", "bash").out
    done = subprocess.run([bash, "-c", script + ASK, "-", line], capture_output=True, text=True)
    assert done.stdout.splitlines() == expected, done.stderr


def test_another_shell_is_named(tsdtp):
    outcome = tsdtp("completion", "fish")
    assert outcome.code == 2 and "bash" in outcome.err
    assert "bashcompinit" in tsdtp("completion", "zsh").out
