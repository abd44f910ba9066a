from __future__ import annotations

import pytest

from tsdtp.attention import BACKENDS


@pytest.fixture(params=BACKENDS)
def backend(request) -> str:
    return request.param
