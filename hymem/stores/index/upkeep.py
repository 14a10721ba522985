"""Work on indexes that no request should wait for: growing them and saving them to disk."""

from __future__ import annotations

import functools
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hymem.errors import StoreClosedError, StoreError
from hymem.stores.database import Database
from hymem.stores.erase import wipe
from hymem.stores.index import snapshot
from hymem.stores.index.scope import ScopeIndex
from hymem.system import forks
from hymem.system.redact import brief

log = logging.getLogger(__name__)

# A scope of fewer items is read from the database as fast as from a snapshot.
SMALLEST = 5_000
# A snapshot is written again when the index has grown by this share.
GROWTH = 0.25
# A snapshot of which this share is of removed or replaced texts is not used again, so that the
# index is built anew without them.
WASTE = 0.2
_ANCHORS = 8
# Closing waits so long for the thread; an index that it is still growing is grown anew next time.
CLOSE_SECONDS = 5.0
# What deletions owe is done once for all of so many seconds; if others are in the way, again after
# twice as long each time, up to the last figure.
GATHER_SECONDS, LONGEST_SECONDS = 0.5, 60.0
# Closing waits so long for readers that are in the way.
_IN_THE_WAY_SECONDS = 0.2


class Upkeep:
    """One background thread per store, started when there is something to do.

    Snapshots lie in a folder named after the database, ``chat.db.index``. They are only a cache:
    failing to write one is logged and otherwise ignored.
    """

    def __init__(self, db: Database, encoder: str) -> None:
        self._db = db
        self._encoder = encoder
        self._folder = None if db.in_memory else Path(f"{db.path}.index")
        self._damaged: set[int] = set()  # scopes whose snapshot is
        self._waiting: dict[int, ScopeIndex] = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._busy = False
        self._wipe_at: float | None = None  # by the monotonic clock
        self._pause = GATHER_SECONDS
        self._thread: threading.Thread | None = None
        forks.watch(self)

    def after_fork(self, calm: bool) -> None:
        """See ``hymem.system.forks``. What waits is the parent's to do."""
        self._changed = threading.Condition()
        self._waiting.clear()
        self._wipe_at, self._pause = None, GATHER_SECONDS
        self._busy, self._thread = False, None

    def restore(self, connection: sqlite3.Connection, scope_id: int, index: ScopeIndex) -> None:
        """Fill a new index from its snapshot, if there is one that fits the database."""
        if self._folder is None or scope_id in self._damaged:
            return
        found = snapshot.read(self._path(scope_id))
        if found is None:
            return
        try:
            if self._fits(connection, scope_id, found[0]):
                snapshot.unpack(index, *found)
        except sqlite3.Error:
            raise
        except Exception as error:  # whole by its checksums, and yet not what was written
            self._damaged.add(scope_id)
            raise StoreError(
                f"{self._path(scope_id)} is damaged and will not be used; try again"
            ) from error

    def consider(self, scope_id: int, index: ScopeIndex) -> None:
        """Have the index grown or saved behind the caller's back, if it is due."""
        if not (index.passages.dense.outgrown or self._unsaved(index, GROWTH)):
            return
        with self._changed:
            self._waiting[scope_id] = index
            self._wake()

    def wipe(self, seconds: float) -> bool:
        """Remove what deleted scopes left on the disk: index files, and ``erase.wipe``. Raises
        ``StoreError``."""
        self._remove_orphans()
        return wipe(self._db, seconds)

    def wipe_soon(self) -> None:
        """The same, behind the caller's back."""
        with self._changed:
            if self._wipe_at is None:
                self._wipe_at = time.monotonic() + GATHER_SECONDS
            self._wake()

    def settle(self) -> None:
        """Wait until there is nothing left to do."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting and not self._busy)

    def close(self, indexes: Mapping[int, ScopeIndex]) -> None:
        """End the thread, and save the indexes for which catching up would take a while."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_SECONDS)
        if self._wipe_at is not None:
            with suppress(StoreError):  # it stays noted in the file
                self.wipe(_IN_THE_WAY_SECONDS)
        for scope_id, index in indexes.items():
            if self._unsaved(index, 0.02):
                self._save(scope_id, index)

    def _wake(self) -> None:
        if self._stopped:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="hymem-store", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except StoreClosedError:
                return
            except (MemoryError, StoreError) as error:
                log.warning("work on the store is put off: %s", brief(error))

    def _next(self) -> Callable[[], None] | None:
        """What is to be done now, as soon as there is something; ``None`` when stopped."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            while not self._stopped:
                left = None if self._wipe_at is None else self._wipe_at - time.monotonic()
                if self._waiting or (left is not None and left <= 0):
                    self._busy = True
                    if not self._waiting:
                        return self._try_wipe
                    return functools.partial(self._work, *self._waiting.popitem())
                self._changed.wait(left)
        return None

    def _try_wipe(self) -> None:
        with self._changed:
            self._wipe_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, LONGEST_SECONDS)
        if self.wipe(0.0):
            with self._changed:
                self._wipe_at, self._pause = None, GATHER_SECONDS

    def _work(self, scope_id: int, index: ScopeIndex) -> None:
        if index.passages.dense.outgrown:
            index.passages.dense.build(index.lock, lambda: self._stopped)
        if self._unsaved(index, GROWTH) and not self._stopped:
            with forks.working():
                self._save(scope_id, index)

    def _unsaved(self, index: ScopeIndex, share: float) -> bool:
        rows = index.id.size
        fresh = rows - index.saved
        if self._folder is None or self._db.read_only:
            return False
        return rows >= SMALLEST and fresh > share * index.saved

    def _save(self, scope_id: int, index: ScopeIndex) -> None:
        path = self._path(scope_id)
        try:
            # In the order of every search, or the two could wait for each other.
            with self._db.read() as connection, index.lock:
                numbers = self._identity(connection, scope_id, index)
                packed, arrays = snapshot.pack(index)
                index.saved = index.id.size
            snapshot.write(path, {**numbers, **packed}, arrays)
            with self._db.read() as connection:
                kept = connection.execute("SELECT 1 FROM scopes WHERE id = ?", (scope_id,))
                if kept.fetchone() is None:  # deleted while it was being written
                    path.unlink(missing_ok=True)
        except (OSError, StoreError) as error:
            log.warning("the index of a scope was not saved: %s", brief(error))

    def _remove_orphans(self) -> None:
        """Remove the files of scopes that are no more."""
        if self._folder is None or not self._folder.is_dir():
            return
        with self._db.read() as connection:
            there = {str(row[0]) for row in connection.execute("SELECT id FROM scopes")}
        for path in self._folder.iterdir():
            if path.name.lstrip(".").split(".")[0] not in there:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    raise StoreError(f"{path} cannot be removed: {error.strerror}") from error

    def _identity(
        self, connection: sqlite3.Connection, scope_id: int, index: ScopeIndex
    ) -> dict[str, Any]:
        """What tells later whether a database still continues the one that was indexed: the last
        items with their times, since ids alone come again when an old backup is restored."""
        ids = index.id.view[-_ANCHORS:].tolist()
        rows = [_anchor(connection, item_id) for item_id in ids]
        lineage = _lineage(connection)
        return {
            "lineage": lineage,
            "encoder": self._encoder,
            "scope": scope_id,
            "last_item": index.last_item,
            "anchors": [row for row in rows if row is not None],
        }

    def _fits(
        self, connection: sqlite3.Connection, scope_id: int, numbers: Mapping[str, Any]
    ) -> bool:
        lineage = _lineage(connection)
        known = (lineage, self._encoder, scope_id)
        if known != (numbers["lineage"], numbers["encoder"], numbers["scope"]):
            return False
        if numbers["wasted"] > WASTE:
            return False
        reached = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        for table, last in (("items", "item"), ("events", "event"), ("changes", "change")):
            if numbers[f"last_{last}"] > reached.get(table, 0):
                return False
        # Items deleted since then are gone; one that is there must be the one that was indexed.
        found = [(_anchor(connection, old[0]), tuple(old)) for old in numbers["anchors"]]
        there = [(new, old) for new, old in found if new is not None]
        return bool(there) and all(new == old for new, old in there)

    def _path(self, scope_id: int) -> Path:
        assert self._folder is not None
        return self._folder / f"{scope_id}.snapshot"


def _lineage(connection: sqlite3.Connection) -> str | None:
    """Names this very file, of which a backup is none."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'lineage'").fetchone()
    return None if row is None else str(row[0])


def _anchor(connection: sqlite3.Connection, item_id: int) -> tuple[Any, ...] | None:
    query = "SELECT id, scope, created FROM items WHERE id = ?"
    row: tuple[Any, ...] | None = connection.execute(query, (item_id,)).fetchone()
    return row
