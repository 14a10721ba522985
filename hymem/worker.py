"""The background thread that turns saved conversations into units while the application goes on."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

from hymem import forks
from hymem.errors import StoreClosedError
from hymem.ingest import Ingestor
from hymem.retry import FIRST_SECONDS, LONGEST_SECONDS, Outage, Pause
from hymem.types import Scope

log = logging.getLogger(__name__)

# A conversation that rests this long is taken as ended: its last event is closed and extracted.
IDLE_SECONDS = 20.0
# Lets a burst of single ``add`` calls be worked on together.
GATHER_SECONDS = 0.05
_NEVER = math.inf


class Worker:
    """Runs an ``Ingestor`` behind ``add``. Whatever it leaves undone is durable in the store, and
    the next flush, or the next process, goes on with it.

    What failed is tried again when its time has come: events as the store says, and a model or an
    encoder that is down after a pause."""

    def __init__(self, ingestor: Ingestor) -> None:
        self._ingestor = ingestor
        self._fresh: set[Scope] = set()
        self._open: set[Scope] = set()
        self._model, self._encoder = Pause(), Pause()
        # On the monotonic clock, when the open events are to be closed, and when to try again.
        self._close_at = self._retry_at = _NEVER
        self._changed = threading.Condition()
        self._stopped = False
        self._thread: threading.Thread | None = None
        forks.watch(self)

    def after_fork(self, calm: bool) -> None:
        """See ``hymem.forks``. What waits is the parent's to do."""
        self._changed = threading.Condition()
        self._fresh, self._open = set(), set()
        self._close_at = self._retry_at = _NEVER
        self._thread = None

    def resume(self) -> None:
        """Take up what an earlier process, or an import, left undone."""
        store = self._ingestor.store
        for scope in [*store.unfinished(), *store.due()]:
            self.notify(scope)
        if store.without_vectors() or store.next_try() is not None:
            with self._changed:
                self._retry_at = time.monotonic()
                self._start()

    def notify(self, scope: Scope) -> None:
        """There is something new in ``scope``."""
        with self._changed:
            self._fresh.add(scope)
            self._start()

    def ask_to_stop(self) -> None:
        """Have the thread end after the batch at hand."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def stop(self, end: float | None = None) -> None:
        """Finish the batch at hand and end the thread, waiting until ``end`` (by
        ``time.monotonic``) if need be. Safe to call twice."""
        self.ask_to_stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(None if end is None else max(end - time.monotonic(), 0))

    def _start(self) -> None:
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._run, name="hymem", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                self._process(*work)
            except StoreClosedError:
                return
            except Exception:  # the thread must go on
                log.exception("background extraction stopped for a while; saved turns are safe")
                self._retry_at = time.monotonic() + FIRST_SECONDS

    def _next(self) -> tuple[set[Scope], bool] | None:
        """(scopes, whether their open events are to be closed); ``None`` when stopped."""
        with self._changed:
            while not (self._stopped or self._fresh):
                wait = min(self._close_at, self._retry_at) - time.monotonic()
                if wait <= 0:
                    break
                self._changed.wait(min(wait, threading.TIMEOUT_MAX))
            if self._stopped:
                return None
            self._retry_at = _NEVER  # set anew when this work is done
            if not self._fresh:
                return self._rested()
        self._pause()
        with self._changed:
            fresh, self._fresh = self._fresh, set()
            self._open |= fresh
            self._close_at = time.monotonic() + IDLE_SECONDS
            return fresh, False

    def _rested(self) -> tuple[set[Scope], bool]:
        if self._close_at > time.monotonic():
            return set(), False
        resting, self._open = self._open, set()
        self._close_at = _NEVER
        return resting, True

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, GATHER_SECONDS)

    def _process(self, scopes: set[Scope], close: bool) -> None:
        store = self._ingestor.store
        if self._encoder.over:
            self._encoder.note(not self._ingestor.embed_missing(keep_going=self._going))
        for scope in scopes:
            self._attempt(scope, lambda scope: self._ingestor.segment(scope, close=close))
        if self._model.over:
            waiting = scopes if self._model.until is None else store.unfinished()
            self._model.note(self._extract([*waiting, *store.due()]))
        if close:
            # Events that another worker has leased are looked at again: it may have died.
            unfinished = scopes & set(store.unfinished())
            with self._changed:
                self._open |= unfinished
                if unfinished:
                    self._close_at = time.monotonic() + IDLE_SECONDS
        self._retry_at = self._next_retry()

    def _extract(self, scopes: Sequence[Scope]) -> bool:
        """Whether the model's endpoint is down."""
        outage = Outage()
        for scope in scopes:
            self._attempt(
                scope,
                lambda scope: self._ingestor.extract(scope, self._going, outage),
            )
        return outage.certain

    def _going(self) -> bool:
        return not self._stopped

    def _attempt(self, scope: Scope, work: Callable[[Scope], None]) -> None:
        """A scope that cannot be worked on holds up no other."""
        if self._stopped:
            return
        try:
            work(scope)
        except StoreClosedError:
            raise
        except Exception:
            log.exception("a scope could not be worked on; its saved turns are safe")

    def _next_retry(self) -> float:
        due = self._ingestor.store.next_try()
        times = [self._encoder.until, self._model.until]
        if due is not None and self._model.until is None:
            # Not at once, since another process may have it; nor later, should the clock be wrong.
            wait = min(max(due - time.time(), FIRST_SECONDS / 10), LONGEST_SECONDS)
            times.append(time.monotonic() + wait)
        return min((one for one in times if one is not None), default=_NEVER)
