"""The background thread that turns saved conversations into units while the application goes on."""

from __future__ import annotations

import logging
import threading
import time

from hymem.errors import StoreClosedError
from hymem.ingest import Ingestor
from hymem.types import Scope

log = logging.getLogger(__name__)

# A conversation that rests this long is taken as ended: its last event is closed and extracted.
IDLE_SECONDS = 20.0
# Lets a burst of single ``add`` calls be worked on together.
GATHER_SECONDS = 0.05


class Worker:
    """Runs an ``Ingestor`` behind ``add``. Whatever it leaves undone is durable in the store, and
    the next flush, or the next process, goes on with it."""

    def __init__(self, ingestor: Ingestor) -> None:
        self._ingestor = ingestor
        self._fresh: set[Scope] = set()
        self._open: set[Scope] = set()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread: threading.Thread | None = None

    def resume(self) -> None:
        """Take up what an earlier process left undone."""
        for scope in self._ingestor.store.unfinished():
            self.notify(scope)

    def notify(self, scope: Scope) -> None:
        """There is something new in ``scope``."""
        with self._changed:
            if self._stopped:
                return
            self._fresh.add(scope)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hymem", daemon=True)
                self._thread.start()
            self._changed.notify()

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

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                self._process(*work)
            except StoreClosedError:
                return
            except Exception:  # whatever a user's own extractor raises, the thread must go on
                log.exception("background extraction stopped; saved turns are safe")

    def _next(self) -> tuple[set[Scope], bool] | None:
        """(scopes, whether their open events are to be closed); ``None`` when stopped."""
        with self._changed:
            wait = IDLE_SECONDS if self._open else None
            self._changed.wait_for(lambda: self._stopped or self._fresh, wait)
            if self._stopped:
                return None
            if not self._fresh:
                resting, self._open = self._open, set()
                return resting, True
        self._pause()
        with self._changed:
            fresh, self._fresh = self._fresh, set()
            self._open |= fresh
            return fresh, False

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped, GATHER_SECONDS)

    def _process(self, scopes: set[Scope], close: bool) -> None:
        up = True
        for scope in scopes:
            if self._stopped:
                return
            self._ingestor.segment(scope, close=close)
            up = up and self._ingestor.extract(scope, lambda: not self._stopped)
        if close:
            # Events that another worker has leased are looked at again: it may have died.
            unfinished = scopes & set(self._ingestor.store.unfinished())
            with self._changed:
                self._open |= unfinished
