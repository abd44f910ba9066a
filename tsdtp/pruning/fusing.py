"""What becomes of dropped tokens where they are not lost: they are averaged into others."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tsdtp.pruning.merging import most_similar, summary_rows
from tsdtp.pruning.state import Decision, TokenState


def into_summary(decision: Decision, state: TokenState) -> None:
    """Gathers what goes in one summary token a sequence, weighted by importance (the memory).

    As EViT does (Liang et al., ICLR 2022, equation 4), but the summary takes over the place of the
    most important of the dropped tokens: no row is added.
    """
    importance = decision.memory
    assert importance is not None
    dropped = state.alive & ~decision.keep
    summary = torch.zeros_like(dropped) if state.summary is None else state.summary
    decision.into, decision.summary = summary_rows(dropped, importance, summary, state.layout)
    decision.keep = decision.keep | decision.summary
    mass = importance if state.mass is None else torch.where(summary, state.mass, importance)
    decision.mass = mass.masked_fill(~state.alive, 0)


def into_similar(decision: Decision, state: TokenState) -> None:
    """Each token that goes is averaged into the most similar one that stays, by hidden state.

    What is averaged, and how much it weighs from there on, is as in ToMe (Bolya et al., ICLR 2023,
    section 3): by the number of tokens. Which tokens go is the method's own choice.
    """
    dropped = state.alive & ~decision.keep
    _, decision.into = most_similar(state.hidden, dropped, decision.keep, state.layout)
    decision.mass = size_of(state)


def size_of(state: TokenState) -> Tensor:
    """[T] how many tokens each one stands for; 0 for dropped ones."""
    return state.alive.float() if state.mass is None else state.mass


FUSES: dict[str, Callable[[Decision, TokenState], None]] = {
    "summary": into_summary,
    "similar": into_similar,
}


def check_fuse(fuse: str | None) -> None:
    """Raises ValueError for what is neither a way to fuse nor none (None; False in old records)."""
    if fuse and fuse not in [*FUSES]:
        raise ValueError(f"pruning.fuse={fuse}: valid are null, {', '.join(FUSES)}")
