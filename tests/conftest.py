"""Fixtures that several test folders share."""

from __future__ import annotations

import gc

import pytest
from tiny import FAMILIES, make_batch

from tsdtp.models import hub


def pytest_collection_finish(session) -> None:
    """What is imported by now stays: no search for garbage looks through it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def hub_is_asked_anew(monkeypatch):
    """No test learns from another one whether the hub answers."""
    monkeypatch.setattr(hub.constants, "HF_HUB_OFFLINE", hub.constants.HF_HUB_OFFLINE)
    hub.reach_hub.cache_clear()
    yield
    hub.reach_hub.cache_clear()


@pytest.fixture
def batch() -> dict:
    return make_batch()


@pytest.fixture(params=FAMILIES)
def family(request) -> str:
    return request.param
