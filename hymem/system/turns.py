"""Turns at the processor, so that much work at once keeps no single request waiting.

Python computes in one thread at a time and changes over every five milliseconds. A request that
meets fifty threads with work to do would wait for fifty times that whenever it has let go. So work
of a kind that comes in crowds takes turns, and only computes in one; who waits for a model gives
the turn to somebody else.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from hymem.system import forks

T = TypeVar("T")

_END: Any = object()
_held = threading.local()  # ``turns``: whose turn this thread has


class Turns:
    """Up to ``count`` threads have one at once."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = threading.Semaphore(count)
        forks.watch(self)

    def after_fork(self, calm: bool) -> None:
        """See ``hymem.system.forks``."""
        mine = getattr(_held, "turns", None) is self
        self._free = threading.Semaphore(self._count - mine)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Compute within this block; within another such block, in that one's turn. Be
        ``forks.working`` before: a fork waits for who waits for a turn."""
        if getattr(_held, "turns", None) is not None:
            yield
            return
        self._take()
        try:
            yield
        finally:
            self._give()

    def _take(self) -> None:
        self._free.acquire()
        _held.turns = self

    def _give(self) -> None:
        _held.turns = None
        self._free.release()


@contextmanager
def waiting() -> Iterator[None]:
    """Within this block the thread waits for somebody else; its turn, if it has one, is given up
    meanwhile, and forks do not wait for it."""
    turns: Turns | None = getattr(_held, "turns", None)
    if turns is not None:
        turns._give()
    try:
        with forks.waiting():
            yield
    finally:
        # Only now: a fork under way would wait for whoever waits for the turn.
        if turns is not None:
            turns._take()


def awaited(items: Iterable[T]) -> Iterator[T]:
    """``items``, each of which is waited for."""
    source = iter(items)
    while True:
        with waiting():
            item = next(source, _END)
        if item is _END:
            return
        yield item
