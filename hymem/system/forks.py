"""Forking, as a server does that loads an application once and then forks its workers.

A fork copies memory, but none of the threads, and files with none of their locks. So before one,
the uses of SQLite under way are let end and its connections closed, for else the child's SQLite
would believe in locks that it does not have. Parent and child open new ones when they need them;
the child also gets new locks, and new threads when there is work for them.

Whatever else is at work is let end too, but for waits: the library behind numpy's matrix products
(OpenBLAS) hangs if a fork comes upon it, and so does, in the child, a module whose import a fork
has come upon; numpy and others import when they are called.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from hymem.system.redact import brief

log = logging.getLogger(__name__)

# A fork waits so long for other threads, and then is made all the same.
CALM_SECONDS = 5.0


class Forkable(Protocol):
    """Something with locks or threads."""

    def after_fork(self, calm: bool) -> None:
        """Start anew, in the child. ``calm``: nobody else was using SQLite."""
        ...


class Connected(Forkable, Protocol):
    """Something with connections to SQLite."""

    def before_fork(self) -> None:
        """Close them, in the parent. Nobody else is using SQLite."""
        ...


Uses = dict[int, int]  # thread -> how often, one use within the other


class _State:
    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.sqlite: Uses = {}
        self.work: Uses = {}
        self.forking: set[int] = set()  # threads
        self.calm = False

    def wait_for_forks(self) -> None:
        """Until none is being made, but by this thread: a finalizer may run in the midst of it."""
        me = threading.get_ident()
        if me not in self.sqlite and me not in self.work:
            self.changed.wait_for(lambda: not self.forking - {me})


_state = _State()
_connected: weakref.WeakSet[Connected] = weakref.WeakSet()
_watched: weakref.WeakSet[Forkable] = weakref.WeakSet()


def watch(one: Forkable) -> None:
    """Have ``one`` told of forks for as long as it lives."""
    with _state.changed:
        _watched.add(one)


def watch_connections(one: Connected) -> None:
    """As ``watch``, and before forks too."""
    with _state.changed:
        _connected.add(one)
        _watched.add(one)


def forget(one: Connected) -> None:
    """Tell ``one`` of no more forks. It is closed, and nobody uses it any more."""
    with _state.changed:
        _connected.discard(one)
        _watched.discard(one)


def using_sqlite() -> AbstractContextManager[None]:
    """Keeps forks waiting while this block lasts, and is kept waiting while one is made."""
    return _using(lambda: _state.sqlite)


def working() -> AbstractContextManager[None]:
    """The same, for everything else that a fork must not come upon."""
    return _using(lambda: _state.work)


@contextmanager
def waiting() -> Iterator[None]:
    """Within this block the thread waits for somebody else, so forks need not wait for it."""
    thread = threading.get_ident()
    with _state.changed:
        around = _state.work.pop(thread, 0)
        _state.changed.notify_all()
    try:
        yield
    finally:
        if around:
            with _state.changed:
                _state.wait_for_forks()
                _state.work[thread] = around


@contextmanager
def _using(kind: Callable[[], Uses]) -> Iterator[None]:
    thread = threading.get_ident()
    with _state.changed:
        _state.wait_for_forks()
        uses = kind()
        uses[thread] = uses.get(thread, 0) + 1
    try:
        yield
    finally:
        with _state.changed:
            uses = kind()  # another in the child of a fork that this thread made within the block
            around = uses.pop(thread, 1) - 1
            if around:
                uses[thread] = around
            elif _state.forking:
                _state.changed.notify_all()


def _others(*kinds: Uses) -> bool:
    me = threading.get_ident()
    return any(thread != me for uses in kinds for thread in uses)


def _before() -> None:
    with _state.changed:
        _state.forking.add(threading.get_ident())
        _state.changed.wait_for(lambda: not _others(_state.sqlite, _state.work), CALM_SECONDS)
        _state.calm = not _others(_state.sqlite)
        if _state.calm:
            for one in list(_connected):
                _tell(one.before_fork)


def _in_parent() -> None:
    with _state.changed:
        _state.forking.discard(threading.get_ident())
        _state.calm = _state.calm and bool(_state.forking)
        _state.changed.notify_all()


def _in_child() -> None:
    global _state
    before, me = _state, threading.get_ident()
    _state = _State()
    _state.sqlite.update(_of(me, before.sqlite))
    _state.work.update(_of(me, before.work))
    for one in list(_watched):
        _tell(one.after_fork, before.calm)


def _tell(of_fork: Callable[..., None], *calm: bool) -> None:
    """One that fails at it must not keep the others from it."""
    try:
        of_fork(*calm)
    except Exception as error:
        log.error("what was open may not work after this fork: %s", brief(error))


def _of(thread: int, uses: Uses) -> Uses:
    return {thread: uses[thread]} if thread in uses else {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
