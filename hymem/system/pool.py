"""Threads to do calls on: a bounded number, there when needed and gone when not."""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from hymem.system import forks

A = TypeVar("A")
T = TypeVar("T")

# Scopes that are extracted at once. A model takes as many calls, unless it is told another number.
SCOPES_AT_ONCE = 8
# A thread without work ends after so long.
IDLE_SECONDS = 10.0


class Pool:
    """Up to ``size`` threads, which do calls in the order in which they come.

    The interpreter's exit does not wait for them, as it does for those of ``concurrent.futures``:
    what a memory is to finish there is its ``close`` to decide.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size, self._name = size, name
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = self._idle = 0
        forks.watch(self)

    def after_fork(self, calm: bool) -> None:
        """See ``hymem.system.forks``. What waits is the parent's to do."""
        self._changed = threading.Condition()
        self._waiting.clear()
        self._threads = self._idle = 0

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """The result of ``call``, or what it raises; until it begins it may be cancelled. The
        caller's context variables are seen on the thread."""
        future: Future[T] = Future()
        context = contextvars.copy_context()
        with self._changed:
            self._waiting.append((future, partial(context.run, call)))
            if len(self._waiting) > self._idle and self._threads < self._size:
                self._start()
            self._changed.notify()
        return future

    def each(self, work: Callable[[A], object], items: Iterable[A]) -> None:
        """Do ``work`` on all ``items``, several at once, and wait. What it raises first is raised
        here; what has not begun by then is left."""
        futures = [self.submit(partial(work, item)) for item in items]
        try:
            with forks.waiting():
                for future in futures:
                    future.result()
        finally:
            for future in futures:
                future.cancel()

    def _start(self) -> None:
        try:
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        except RuntimeError:  # no more threads to be had
            if not self._threads:
                self._waiting.pop()
                raise
        else:
            self._threads += 1

    def _run(self) -> None:
        while (work := self._next()) is not None:
            _do(*work)
            del work  # its arguments and its result are the caller's alone

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._waiting, IDLE_SECONDS)
            self._idle -= 1
            if self._waiting:
                return self._waiting.popleft()
            self._threads -= 1
            return None


def _do(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
