"""The background thread that turns saved conversations into units while the application goes on."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial

from hymem.errors import StoreClosedError
from hymem.system import forks
from hymem.system.redact import trace
from hymem.types import Scope
from hymem.write.ingest import Ingestor
from hymem.write.retry import FIRST_SECONDS, LONGEST_SECONDS, Outage, Pause

log = logging.getLogger(__name__)

# A conversation that rests this long is taken as ended: its last event is closed and extracted.
IDLE_SECONDS = 20.0
# Lets a burst of single ``add`` calls be worked on together.
GATHER_SECONDS = 0.05
_NEVER = math.inf
_STOPPED = "background extraction stopped for a while; saved turns are safe\n%s"


class Worker:
    """Runs an ``Ingestor`` behind ``add``. Whatever it leaves undone is durable in the store, and
    the next flush, or the next process, goes on with it.

    It cuts conversations on a thread of its own, and extracts scopes several at once, so that one
    with a slow model or much to do holds up no other. What failed is tried again when its time has
    come: events as the store says, and a model or an encoder that is down after a pause."""

    def __init__(self, ingestor: Ingestor) -> None:
        self._ingestor = ingestor
        self._fresh: set[Scope] = set()
        self._open: set[Scope] = set()
        self._extracting: set[Scope] = set()
        self._again: set[Scope] = set()  # to be extracted once more, for what has come meanwhile
        self._outage = Outage()
        self._model, self._encoder = Pause(), Pause()
        # On the monotonic clock, when the open events are to be closed, and when to try again.
        self._close_at = self._retry_at = _NEVER
        self._changed = threading.Condition()
        self._stopped = False
        self._thread: threading.Thread | None = None
        self._at_work: set[int] = set()  # threads that extract
        forks.watch(self)

    def after_fork(self, calm: bool) -> None:
        """See ``hymem.system.forks``. What waits is the parent's to do."""
        self._changed = threading.Condition()
        self._fresh, self._open = set(), set()
        self._extracting, self._again, self._at_work = set(), set(), set()
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
        """Finish the batches at hand and end the thread, waiting until ``end`` (by
        ``time.monotonic``) if need be. Safe to call twice."""
        self.ask_to_stop()
        thread, me = self._thread, threading.get_ident()

        def left() -> float | None:
            return None if end is None else max(end - time.monotonic(), 0)

        if thread is not None and thread is not threading.current_thread():
            thread.join(left())
        with self._changed:
            self._changed.wait_for(lambda: not self._at_work - {me}, left())

    def _start(self) -> None:
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._run, name="hymem", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            try:
                self._process(*work)
            except StoreClosedError:
                return
            except BaseException as error:  # the thread must go on, whatever a user's part raises
                log.error(_STOPPED, trace(error))
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
            with forks.working(), self._ingestor.turns.taken():
                complete = self._ingestor.embed_missing(keep_going=self._going)
            self._encoder.note(not complete)
        for scope in scopes:
            self._attempt(scope, lambda scope: self._ingestor.segment(scope, close=close))
        if self._model.over:
            waiting = scopes if self._model.until is None else store.unfinished()
            self._extract([*waiting, *store.due()])
        if close:
            # Events that another worker has leased are looked at again: it may have died.
            unfinished = scopes & set(store.unfinished())
            with self._changed:
                self._open |= unfinished
                if unfinished:
                    self._close_at = time.monotonic() + IDLE_SECONDS
        self._plan_retry()

    def _extract(self, scopes: Sequence[Scope]) -> None:
        """Have these scopes extracted."""
        with self._changed:
            if self._outage.certain:
                self._outage = Outage()
            for scope in scopes:
                if scope in self._extracting:
                    self._again.add(scope)
                else:
                    self._extracting.add(scope)
                    self._ingestor.pool.submit(partial(self._extract_one, scope, self._outage))

    def _extract_one(self, scope: Scope, outage: Outage) -> None:
        me = threading.get_ident()
        with self._changed:
            self._at_work.add(me)
        try:
            while True:
                self._attempt(
                    scope, lambda scope: self._ingestor.extract(scope, self._going, outage)
                )
                with self._changed:
                    if scope not in self._again or self._stopped:
                        self._extracting.discard(scope)
                        break
                    self._again.discard(scope)
            self._note(outage)
        except StoreClosedError:
            pass
        except BaseException as error:
            log.error(_STOPPED, trace(error))
        finally:
            with self._changed:
                self._at_work.discard(me)
                self._changed.notify_all()

    def _note(self, outage: Outage) -> None:
        """What the extraction of a scope has shown of the model, and when to try again."""
        with self._changed:
            if outage is self._outage and outage.certain:
                if self._model.over:  # else another scope has noted it
                    self._model.note(True)
            elif outage is self._outage:
                self._model.note(False)
        self._plan_retry()

    def _going(self) -> bool:
        return not self._stopped

    def _attempt(self, scope: Scope, work: Callable[[Scope], None]) -> None:
        """A scope that cannot be worked on holds up no other."""
        if self._stopped:
            return
        try:
            with forks.working(), self._ingestor.turns.taken():
                work(scope)
        except StoreClosedError:
            raise
        except BaseException as error:  # on a thread of our own nobody else catches it
            log.error("a scope could not be worked on; its saved turns are safe\n%s", trace(error))

    def _plan_retry(self) -> None:
        again = self._next_retry()
        with self._changed:
            self._retry_at = min(self._retry_at, again)
            self._changed.notify_all()

    def _next_retry(self) -> float:
        due = self._ingestor.store.next_try()
        times = [self._encoder.until, self._model.until]
        if due is not None and self._model.until is None:
            # Not at once, since another process may have it; nor later, should the clock be wrong.
            wait = min(max(due - time.time(), FIRST_SECONDS / 10), LONGEST_SECONDS)
            times.append(time.monotonic() + wait)
        return min((one for one in times if one is not None), default=_NEVER)
