"""Who a call is for: somebody who waits for the answer, or the work behind ``add``.

Each has slots of its own, so that neither keeps the other waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_behind: ContextVar[bool] = ContextVar("hymem_behind", default=False)


@contextmanager
def behind_add() -> Iterator[None]:
    """Calls in this block are extraction's, not a chat's or a question's."""
    token = _behind.set(True)
    try:
        yield
    finally:
        _behind.reset(token)


class Slots:
    """At most ``each`` calls of either kind at once. Belongs to one event loop."""

    def __init__(self, each: int) -> None:
        self._of = {kind: asyncio.Semaphore(each) for kind in (False, True)}

    @property
    def mine(self) -> asyncio.Semaphore:
        """To be held during a call of the caller's kind."""
        return self._of[_behind.get()]
