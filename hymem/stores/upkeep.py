"""Work on indexes that no request should wait for: growing them and saving them to disk."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hymem.errors import StoreClosedError, StoreError
from hymem.stores import snapshot
from hymem.stores.database import Database
from hymem.stores.index import ScopeIndex

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


class Upkeep:
    """One background thread per store, started when there is something to do.

    Snapshots lie in a folder named after the database, ``chat.db.index``. They are only a cache:
    failing to write one is logged and otherwise ignored.
    """

    def __init__(self, db: Database, encoder: str) -> None:
        self._db = db
        self._encoder = encoder
        self._folder = None if db.in_memory else Path(f"{db.path}.index")
        self._waiting: dict[int, ScopeIndex] = {}
        self._changed = threading.Condition()
        self._stopped = False
        self._busy = False
        self._thread: threading.Thread | None = None

    def restore(self, connection: sqlite3.Connection, scope_id: int, index: ScopeIndex) -> None:
        """Fill a new index from its snapshot, if there is one that fits the database."""
        found = None if self._folder is None else snapshot.read(self._path(scope_id))
        if found is not None and self._fits(connection, scope_id, found[0]):
            snapshot.unpack(index, *found)

    def consider(self, scope_id: int, index: ScopeIndex) -> None:
        """Have the index grown or saved behind the caller's back, if it is due."""
        if not (index.passages.dense.outgrown or self._unsaved(index, GROWTH)):
            return
        with self._changed:
            if self._stopped:
                return
            self._waiting[scope_id] = index
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="hymem-store", daemon=True)
                self._thread.start()
            self._changed.notify_all()

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
        for scope_id, index in indexes.items():
            if self._unsaved(index, 0.02):
                self._save(scope_id, index)

    def forget(self, scope_id: int) -> None:
        """Remove every file of a deleted scope."""
        with self._changed:
            self._waiting.pop(scope_id, None)
        if self._folder is not None:
            for path in self._folder.glob(f"{scope_id}.*"):
                path.unlink(missing_ok=True)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._stopped or self._waiting)
                if self._stopped:
                    return
                scope_id, index = self._waiting.popitem()
                self._busy = True
            try:
                self._work(scope_id, index)
            except StoreClosedError:
                return
            except (MemoryError, StoreError) as error:
                log.warning("an index stays as it is: %s", error)

    def _work(self, scope_id: int, index: ScopeIndex) -> None:
        if index.passages.dense.outgrown:
            index.passages.dense.build(index.lock, lambda: self._stopped)
        if self._unsaved(index, GROWTH) and not self._stopped:
            self._save(scope_id, index)

    def _unsaved(self, index: ScopeIndex, share: float) -> bool:
        rows = index.id.size
        fresh = rows - index.saved
        return self._folder is not None and rows >= SMALLEST and fresh > share * index.saved

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
            log.warning("the index of a scope was not saved: %s", error)

    def _identity(
        self, connection: sqlite3.Connection, scope_id: int, index: ScopeIndex
    ) -> dict[str, Any]:
        """What tells later whether a database still continues the one that was indexed: the last
        items with their times, since ids alone come again when an old backup is restored."""
        ids = index.id.view[-_ANCHORS:].tolist()
        rows = [_anchor(connection, item_id) for item_id in ids]
        (lineage,) = connection.execute("SELECT value FROM meta WHERE key = 'lineage'").fetchone()
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
        (lineage,) = connection.execute("SELECT value FROM meta WHERE key = 'lineage'").fetchone()
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


def _anchor(connection: sqlite3.Connection, item_id: int) -> tuple[Any, ...] | None:
    query = "SELECT id, scope, created FROM items WHERE id = ?"
    row: tuple[Any, ...] | None = connection.execute(query, (item_id,)).fetchone()
    return row
