"""What is said where results come from other code than the present one."""

from __future__ import annotations

from typing import Any

from tsdtp.provenance import code_state
from tsdtp.results import RunRecord


def other_code(record: RunRecord | None, what: str) -> str:
    """Names the code of a finished run and the ways to go on."""
    return (
        f"{what} from {versions(record.provenance if record else {})}: "
        "changed_code=keep takes what is there, changed_code=rerun runs it again"
    )


def versions(made: dict[str, Any]) -> str:
    """Names other code, by its state, and the present one."""
    then, now = _version(made), _version(code_state())
    if then == now:
        return f"other code (of {then} as well: Python files of it, or of your own, have changed)"
    return f"other code ({then}; now {now})"


def _version(state: dict[str, Any]) -> str:
    commit = str(state["commit"])[:9] if state.get("commit") else "no commit"
    return f"{commit}{' with changes' if state.get('dirty') else ''}"
