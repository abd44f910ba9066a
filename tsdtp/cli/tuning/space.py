"""What a search may draw, and whether anything of it would be refused in every trial."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from tsdtp.cli.config import ConfigError, as_text

_TRIALS = 16  # that a value is looked at in before it is refused


def as_overrides(drawn: Mapping[str, Any]) -> list[str]:
    """The values of one trial, by their keys, as a command line has them."""
    return [f"{key}={as_text(value)}" for key, value in drawn.items()]


def check_space(
    space: Mapping[str, Mapping[str, Any]], check: Callable[[list[str]], object]
) -> None:
    """Has every choice, and both ends of every range, looked at in some trial.

    What is refused beside some values of other keys alone is no fault: trials draw others, too.

    Args:
        space: for each key `choices`, or `low` and `high`.
        check: raises ValueError for overrides that it refuses.

    Raises:
        ConfigError: with a value that is refused whatever was drawn beside it, and why.
    """
    values = {k: r["choices"] if "choices" in r else _ends(r) for k, r in space.items()}
    columns, fault_of = _columns(values), cache(partial(_fault, check))
    for column in columns:
        if (fault := fault_of(*as_overrides(column))) is None:
            continue
        if fault == fault_of():
            raise ConfigError(fault)
        for key, value in column.items():
            trials = ({**others, key: value} for others in (*columns, *_drawn(values)))
            if all(fault_of(*as_overrides(trial)) for trial in trials):
                raise ConfigError(_told(key, value, fault))


def _ends(range_: Mapping[str, Any]) -> list[Any]:
    return [range_["low"], range_["high"]]


def _columns(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Trials in which each value occurs at least once."""
    longest = max(map(len, values.values()))
    return [{k: v[i if i < len(v) else 0] for k, v in values.items()} for i in range(longest)]


def _drawn(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Other trials, the same ones each time."""
    draw = random.Random(0).choice
    return [{key: draw(several) for key, several in values.items()} for _ in range(_TRIALS)]


def _fault(check: Callable[[list[str]], object], *overrides: str) -> str | None:
    """What is said against a trial; None: nothing."""
    try:
        check([*overrides])
    except ValueError as error:
        return str(error)
    return None


def _told(key: str, value: Any, fault: str) -> str:
    """A fault with the value that makes it."""
    [made] = as_overrides({key: value})
    return fault if fault.startswith(made) else f"space: {made}: {fault}"
