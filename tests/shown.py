"""Commands that the README and the docs show, in a fast variant."""

from __future__ import annotations

import re
import shlex

from tiny import TIMED

# What stands in for real data and weights, which no test may need.
STAND_IN = ("model=tiny_bert", "task.data.source=synthetic", "hardware=cpu")


def commands(page: str) -> list[str]:
    """The commands of a page's bash blocks, each in one line and without its comment."""
    shown = "".join(re.findall(r"```bash\n(.*?)```", page, flags=re.DOTALL))
    lines = shown.replace("\\\n", " ").splitlines()
    return list(filter(None, (line.split("#")[0].strip() for line in lines)))


def fast(command: str) -> list[str]:
    """The same command on generated data with a tiny model."""
    _, name, *arguments = shlex.split(command)
    if name in ("report", "predict"):
        return [name, *arguments]
    brief = ["benchmark.rounds=2", "benchmark.min_time=0.001"]
    if name == "eval":
        return [name, *arguments, *brief]
    if name == "bench":
        arguments = [re.sub(r"^tokens=\d+$", "tokens=16", a) for a in arguments]
        brief.append("benchmark.new_tokens=2")
        return [name, *arguments, *brief, "benchmark.examples=4", "task.data.train_examples=500"]
    if name == "sweep":
        return [name, *arguments, "dry_run=true"]
    if "model=own" in arguments:
        arguments.append("task.data.max_length=64")  # the stand-in has no more positions
    if {"model=tiny_marian", "model=own"} & set(arguments):
        return [name, *arguments, *TIMED, "overwrite=true"]
    replaced = {"model", "task.data.source", "hardware"}
    kept = [a for a in arguments if a.split("=")[0] not in replaced]
    # In one process: starting an interpreter for each of two dozen runs takes minutes.
    launcher = ["hydra/launcher=basic"] if "-m" in kept else []
    return [name, *kept, *STAND_IN, *TIMED, *launcher, "overwrite=true"]
