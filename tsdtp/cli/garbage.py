"""When Python looks for garbage: hardly among what is imported and composed, where there is none.

Each search goes through all that torch, Lightning and transformers have defined, and so does the
one at the very end, whose memory the system takes back anyway.
"""

from __future__ import annotations

import atexit
import gc
from functools import cache

_USUAL = gc.get_threshold()
_RARELY = (500_000, 50, 50)


def gc_rarely() -> None:
    """For a program's start and end; see `gc_as_usual` for what it measures and trains."""
    gc.set_threshold(*_RARELY)
    atexit.register(gc.freeze)


@cache
def gc_as_usual() -> None:
    """From the first call on; what there is by then stays and is not looked through again."""
    gc.freeze()
    gc.set_threshold(*_USUAL)
