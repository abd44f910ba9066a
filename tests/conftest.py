"""Fixtures that several test folders share."""

from __future__ import annotations

import pytest
from tiny import FAMILIES, make_batch


@pytest.fixture
def batch() -> dict:
    return make_batch()


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param
