"""Every command that the README shows runs, in a fast variant."""

from __future__ import annotations

import re

import pytest
from shown import commands, fast
from tiny import REPOSITORY

README = (REPOSITORY / "README.md").read_text()
COMMANDS = [line for line in commands(README) if line.startswith("tsdtp ")]
TARGETS = [line.split()[1] for line in commands(README) if line.startswith("make ")]


@pytest.mark.slow
def test_the_commands_run_one_after_the_other(tsdtp, own):
    assert len(COMMANDS) >= 12
    for command in COMMANDS:
        name, *arguments = fast(command)
        outcome = tsdtp(name, *arguments)
        assert outcome.code == 0, f"{command}\n{outcome.err}"


def test_make_knows_the_targets():
    makefile = (REPOSITORY / "Makefile").read_text()
    assert {"tables", "test"} <= set(TARGETS)
    for target in TARGETS:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.usefixtures("no_hub")
def test_the_library_example_runs():
    import torch

    import tsdtp

    example = re.search(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert example is not None
    names: dict = {}
    with torch.inference_mode(False):
        exec(example[1], names)
    assert names["out"].tokens_kept.shape == (8, 4)
    assert names["tsdtp"] is tsdtp
