"""Connections to one SQLite file: one writer at a time, readers that never wait for it."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from hymem.errors import StoreError
from hymem.files import RawFile, replacing
from hymem.stores.schema import check_head, migrate

BUSY_MS = 30_000
_ADVICE = {
    "SQLITE_FULL": "the disk is full; free some space and try again",
    "SQLITE_READONLY": "the file or its folder is read-only; change its permissions",
    "SQLITE_BUSY": "another process holds the database; try again",
    "SQLITE_CANTOPEN": "the file cannot be opened; check that its folder exists and is writable",
    "SQLITE_CORRUPT": "the database is damaged; restore a backup",
    "SQLITE_NOTADB": "this is not a HyMem database, or it is damaged; restore a backup",
    "SQLITE_IOERR": "the disk failed or is full; free some space and try again",
    "SQLITE_TOOBIG": "the text is too long for one database row",
}


class Database:
    """A database file, or ``:memory:``, which lives on a single connection."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.in_memory = path == ":memory:"
        self._lock = threading.RLock()
        self._idle: list[sqlite3.Connection] = []
        self._opened: list[sqlite3.Connection] = []
        self._closed = False
        self._raw: RawFile | None = None
        try:
            with self._errors():
                if not self.in_memory:
                    self._raw = RawFile(path)
                    check_head(path, self._raw.read(0, 100))
                self._writer = self._connect()
                migrate(self._writer, path)
                self._enter_wal()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction: committed at the end of the block, or rolled back.

        Raises ``StoreError``."""
        with self._lock, self._errors():
            connection = self._writer
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A consistent view of the database. Raises ``StoreError``."""
        if self.in_memory:
            with self._lock, self._errors():
                yield self._writer
            return
        with self._errors():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect()
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("COMMIT")
                self._idle.append(connection)

    def truncate_wal(self) -> bool:
        """Copy the log into the database and empty it; false if a reader is in the way."""
        if self.in_memory:
            return True
        with self._lock, self._errors():
            (busy, _, _) = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def backup(self, path: str) -> None:
        """Copy the live database to ``path``, which is replaced only when the copy is complete.

        Raises ``StoreError``, also for a database in use: its log would be read into the copy."""
        if os.path.exists(f"{path}-wal"):
            raise StoreError(
                f"{path} is a database in use, or was not closed properly ({path}-wal lies beside "
                "it); name another file for the backup"
            )
        with self._errors(path), replacing(path) as partial:
            self._copy(str(partial))

    def close(self) -> None:
        """Close every connection. Safe to call twice."""
        with self._lock:
            self._closed = True
            for connection in self._opened:
                connection.close()
            self._opened.clear()
            self._idle.clear()
            if self._raw is not None:
                self._raw.close()

    def _copy(self, path: str) -> None:
        target = sqlite3.connect(path)
        try:
            with self.read() as source:
                source.backup(target)
            # A copy goes its own way, so indexes saved beside the original are not its own.
            target.execute("DELETE FROM meta WHERE key = 'lineage'")
            target.commit()
            target.execute("PRAGMA journal_mode = DELETE")
        finally:
            target.close()

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise StoreError("the store is closed; open it again")
        connection = sqlite3.connect(
            self.path, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False
        )
        self._opened.append(connection)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -16384")
        return connection

    def _enter_wal(self) -> None:
        if not self.in_memory:
            self._writer.execute("PRAGMA journal_mode = WAL")

    @contextmanager
    def _errors(self, path: str | None = None) -> Iterator[None]:
        """Turn SQLite's errors into ``StoreError`` with advice; ``path``: the file at work, if it
        is not the database's own."""
        path = path or self.path
        try:
            yield
        except sqlite3.ProgrammingError as error:
            if self._closed:
                raise StoreError("the store is closed; open it again") from error
            raise
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            name = getattr(error, "sqlite_errorname", "")
            advice = next((text for key, text in _ADVICE.items() if name.startswith(key)), "")
            raise StoreError(f"{path}: {error}" + (f": {advice}" if advice else "")) from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read or written: {error.strerror}") from error
