"""One event loop for all calls over the network, on a thread of its own.

A call on a loop can be given up at any moment: at its deadline, or because nobody waits for it any
more. A read that blocks a thread cannot.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
# A fork's child has the loop but not its thread. Closing it would touch sockets that are the
# parent's too, so it is only put aside.
_of_parents: list[asyncio.AbstractEventLoop] = []


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Begin ``work`` on the loop; cancelling the future ends it. The caller's context variables
    are seen there."""
    return asyncio.run_coroutine_threadsafe(work, _running())


def run(work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, done on the loop; whatever it raises is raised here. If the wait is
    interrupted, the work is given up."""
    future = submit(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def current() -> asyncio.AbstractEventLoop | None:
    """The loop of this process, if there is one yet."""
    return _loop


def _running() -> asyncio.AbstractEventLoop:
    global _loop
    if _loop is not None:  # also spares the lock in finalizers, which run at any moment
        return _loop
    with _lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="hymem-network", daemon=True).start()
        return _loop


def _start_anew() -> None:
    global _loop, _lock
    _lock = threading.Lock()
    if _loop is not None:
        _of_parents.append(_loop)
        _loop = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
