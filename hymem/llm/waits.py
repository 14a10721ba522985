"""How long a caller of ``add``, ``search`` or ``recall`` is kept waiting for an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# Seconds for one call to an endpoint. In a chat somebody waits for it; what has no vector by then
# gets it later.
LONGEST_SECONDS = 30.0
# An endpoint that has kept somebody waiting for nothing is not waited for again for this many times
# as long: of a conversation's time it gets a third.
RESTS = 2.0

_waits: ContextVar[bool] = ContextVar("hymem_somebody_waits", default=False)


@contextmanager
def somebody_waits() -> Iterator[None]:
    """No call over the network in this block outlasts ``LONGEST_SECONDS``."""
    token = _waits.set(True)
    try:
        yield
    finally:
        _waits.reset(token)


def does_somebody_wait() -> bool:
    """Whether this runs within ``somebody_waits``."""
    return _waits.get()


def at_most(seconds: float) -> float:
    """``seconds``, or fewer where somebody waits."""
    return min(seconds, LONGEST_SECONDS) if _waits.get() else seconds
