"""From open to closed: who is using a memory, and how that use ends."""

from __future__ import annotations

import _thread
import atexit
import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hymem.errors import HyMemError, StoreClosedError
from hymem.llm.streams import Closable
from hymem.system import forks
from hymem.system.redact import brief

if TYPE_CHECKING:
    from hymem.stores.base import Store
    from hymem.write.worker import Worker

log = logging.getLogger(__name__)

# Closing waits so long for the calls under way and for the worker.
CLOSE_SECONDS = 10.0


class Life:
    """One memory's store and worker, and the calls under way on them.

    Closed at the interpreter's exit at the latest.
    """

    def __init__(self, store: Store, worker: Worker | None) -> None:
        self._store, self._worker = store, worker
        # Both locks are reentrant, since a signal handler may close a memory that is at work.
        self._changed = threading.Condition(threading.RLock())
        self._ending = threading.RLock()
        self._calls: dict[int, int] = {}  # thread -> its calls, one within the other
        self._streams: weakref.WeakSet[Stream] = weakref.WeakSet()
        self._closing = False
        _open.add(self)
        forks.watch(self)

    def after_fork(self, calm: bool) -> None:
        """See ``hymem.system.forks``. Of the calls under way only that of the thread which forked
        goes on in the child; the parent's replies are its own."""
        me = threading.get_ident()
        self._changed = threading.Condition(threading.RLock())
        self._ending = threading.RLock()
        self._calls = {thread: calls for thread, calls in self._calls.items() if thread == me}
        for stream in list(self._streams):
            stream.leave_to_parent()
        self._streams = weakref.WeakSet()

    def is_open(self) -> bool:
        """Whether new calls are let in; long ones end early once they are not."""
        return not self._closing

    @contextmanager
    def call(self) -> Iterator[None]:
        """A call is under way while this block lasts; what it calls in turn is let in until it
        ends. Raises ``StoreClosedError``."""
        thread = threading.get_ident()
        with self._changed:
            around = self._calls.get(thread, 0)
            if self._closing and not around:
                raise StoreClosedError
            self._calls[thread] = around + 1
        try:
            with forks.working():
                yield
        finally:
            with self._changed:
                self._calls[thread] = around
                if not around:
                    del self._calls[thread]
                    self._changed.notify_all()

    def stream(self, pieces: Closable[str]) -> Stream:
        """``pieces``, each of them a call of its own."""
        stream = Stream(pieces, self)
        with self._changed:
            self._streams.add(stream)
        return stream

    def close(self, end: float | None = None) -> None:
        """Refuse new calls, wait for those under way and for the worker until ``end`` (by
        ``time.monotonic``; default: ``CLOSE_SECONDS`` from now), and close the store. Calls that
        overstay get ``StoreClosedError`` when they next touch it. Safe to call twice, and from
        within a call."""
        end = time.monotonic() + CLOSE_SECONDS if end is None else end
        with self._ending:
            if self._closing:
                return
            try:
                self._end_calls(end)
                if self._worker is not None:
                    self._worker.stop(end)
            finally:
                self._store.close()
                _open.discard(self)

    def abandon(self) -> None:
        """Close behind the caller's back: garbage is collected in any thread, whatever locks it
        holds, so nothing may be waited for here."""
        if not self._closing:
            with contextlib.suppress(RuntimeError):  # no thread to be had: closed at exit
                _thread.start_new_thread(self.close, ())

    def _end_calls(self, end: float) -> None:
        with self.call():
            me = threading.get_ident()
            with self._changed:
                self._closing = True
                streams = list(self._streams)
            if self._worker is not None:
                self._worker.ask_to_stop()
            for stream in streams:
                try:
                    stream.close()
                except HyMemError as error:
                    log.warning("a reply under way could not be saved: %s", brief(error))
            with forks.waiting(), self._changed:
                self._changed.wait_for(
                    lambda: self._calls.keys() == {me}, max(end - time.monotonic(), 0)
                )
                if late := len(self._calls) - 1:
                    log.warning("the memory is closed with %d calls still under way", late)


class Stream(Iterator[str]):
    """A reply in pieces. Closing its memory ends it as if its reader had left."""

    def __init__(self, pieces: Closable[str], life: Life) -> None:
        self._pieces, self._life = pieces, life
        self._reading = threading.Lock()
        self._left = False

    def __next__(self) -> str:
        with self._life.call():
            try:
                with self._reading:
                    return next(self._pieces)
            except GeneratorExit:  # closed meanwhile, by another thread
                if self._life.is_open():
                    raise StopIteration from None
                raise StoreClosedError from None
            finally:
                if self._left:
                    self._pieces.close()

    def close(self) -> None:
        """Leave: at once, or, if a model of the user's own cannot be interrupted, after the piece
        that another thread is waiting for, for which this does not wait. What was shown is
        remembered."""
        self._left = True
        self._pieces.close()

    def leave_to_parent(self) -> None:
        """In a fork's child: end, and let the parent alone remember what was shown."""
        _of_parents.append(self._pieces)
        self._pieces = Closable(_nothing(), None)
        self._reading = threading.Lock()


def _nothing() -> Generator[str, None, None]:
    yield from ()


_open: set[Life] = set()
# Replies that a fork's child must neither go on reading nor drop, which would end them.
_of_parents: list[object] = []


@atexit.register
def _close_all() -> None:
    end = time.monotonic() + CLOSE_SECONDS
    for life in list(_open):
        life.close(end)
