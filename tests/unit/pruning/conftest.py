"""A pruner and what it sees, small enough to be reckoned by hand."""

from __future__ import annotations

import pytest
import torch
from tiny import layout_of

from tsdtp.pruning import TokenPruner, TokenState, find_method


def _make(method: str, **arguments) -> TokenPruner:
    torch.manual_seed(0)
    return find_method(method)(4, 8, **arguments)


def _state_of(attention, protected=(0,), alive=None, **changes) -> TokenState:
    """One sequence of n tokens at layer 0, their attention received given."""
    n = len(attention)
    index = torch.arange(n)
    return TokenState(
        **{
            "layer": 0,
            "hidden": torch.randn(n, 8, generator=torch.Generator().manual_seed(1)),
            "embeddings": torch.randn(n, 8, generator=torch.Generator().manual_seed(2)),
            "attention": torch.tensor(attention, dtype=torch.float32),
            "memory": None,
            "alive": torch.ones(n).bool() if alive is None else torch.tensor(alive).bool(),
            "protected": torch.isin(index, torch.tensor(protected)),
            "layout": layout_of(n),
            "input_ids": index + 10,
            "query": torch.randn(n, 2, 4, generator=torch.Generator().manual_seed(3)),
            "key": torch.randn(n, 2, 4, generator=torch.Generator().manual_seed(4)),
            **changes,
        }
    )


@pytest.fixture
def make():
    """(method, **arguments) -> a pruner of 4 layers and 8 features."""
    return _make


@pytest.fixture
def state_of():
    """(attention, ...) -> the state of one sequence that received it."""
    return _state_of
