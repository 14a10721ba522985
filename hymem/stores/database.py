"""Connections to one SQLite file: one writer at a time, readers that never wait for it."""

from __future__ import annotations

import gc
import logging
import os
import sqlite3
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import tzinfo

from hymem.errors import HyMemError, InputError, NotFoundError, StoreClosedError, StoreError
from hymem.stores.damage import is_undecodable
from hymem.stores.readonly import address, can_write, refusal
from hymem.stores.schema import check_current, check_head, migrate
from hymem.system import forks
from hymem.system.files import RawFile, is_named_as_companion, is_special, replacing

log = logging.getLogger(__name__)

BUSY_MS = 30_000
_ADVICE = {
    "SQLITE_FULL": "the disk is full; free some space and try again",
    "SQLITE_READONLY": "the file or its folder is read-only; change its permissions",
    "SQLITE_BUSY": "another process holds the database; try again",
    "SQLITE_CANTOPEN": "the file cannot be opened; check that its folder exists and is writable",
    "SQLITE_CORRUPT": "the database is damaged; restore a backup",
    "SQLITE_INTERRUPT": "a query went on without end, so the database is damaged; restore a backup",
    "SQLITE_NOTADB": "this is not a HyMem database, or it is damaged; restore a backup",
    "SQLITE_IOERR": "the disk failed or is full; free some space and try again",
    "SQLITE_TOOBIG": "the text is too long for one database row",
}

# Connections that a fork's child must neither use nor close, and their files.
_of_parents: list[object] = []
_lost_files: set[tuple[int, int]] = set()


# No query needs a tenth of so many steps for each page of its file. What is written may stay in
# memory for thousands of pages before the file grows by them.
_STEPS_AT_ONCE = 1_000_000
_READ_STEPS, _WRITE_STEPS = 2_000_000, 200_000_000
_STEPS_PER_PAGE = 10_000
_PAGE = 4096
_DAMAGED = "it was damaged or changed by another program; restore a backup"
# What reading a value of a wrong kind ends in, somewhere in the work on it.
_UNREADABLE = (
    OverflowError,
    AttributeError,
    LookupError,
    MemoryError,
    struct.error,
    TypeError,
    ValueError,
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
)


class Database:
    """A database file, or ``:memory:``, which lives on a single connection.

    A connection is only ever closed by the thread that uses it, or while nobody does: SQLite does
    not survive the close of a connection that another thread is reading from. In a fork's child
    they are opened anew, and those of the parent left alone; see ``hymem.system.forks``.

    A file that cannot be written is opened for reading (``read_only``); see
    ``hymem.stores.readonly``.
    """

    def __init__(self, path: str, zone: tzinfo | None = None) -> None:
        self.in_memory = path == ":memory:"
        # Absolute, since connections are opened later too, when the working folder may be another.
        self.path = path if self.in_memory else os.path.abspath(path)
        self._lock = threading.RLock()  # whose turn it is to write
        # Guards the fields below, for moments only. Reentrant: a signal handler may close.
        self._pool = threading.RLock()
        self._idle: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._writer_users = 0
        self._connections = 0  # open ones, whoever has them
        self._closed = False
        self._lost = False  # to a fork that came at a bad moment
        self.raw: RawFile | None = None
        self.read_only = False
        forks.watch_connections(self)
        try:
            with forks.using_sqlite(), self._lock, self._errors():
                if not self.in_memory:
                    _check_name(self.path)
                    self.raw = RawFile(self.path)
                    check_head(self.path, self.raw.read(0, 100))
                    self.read_only = not can_write(self.path)
                if self.read_only:
                    self._look()
                else:
                    self._prepare(zone)
        except BaseException:
            self.close()
            raise

    def _prepare(self, zone: tzinfo | None) -> None:
        with self._own() as writer:
            self._limit(writer, _WRITE_STEPS)
            migrate(writer, self.path, zone)
            if not self.in_memory:
                writer.execute("PRAGMA journal_mode = WAL")

    def _look(self) -> None:
        with self.read() as connection:
            check_current(connection, self.path)
        log.warning("%s cannot be written, so it is opened for reading alone", self.path)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction: committed at the end of the block, or rolled back.

        Raises ``StoreError``."""
        self._check_writable()
        with forks.using_sqlite(), self._lock, self._errors(), self._own() as connection:
            self._limit(connection, _WRITE_STEPS)
            connection.execute("BEGIN IMMEDIATE")
            try:
                with _no_statement_left(connection):
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
            with forks.using_sqlite(), self._lock, self._errors(), self._own() as connection:
                yield connection
            return
        with forks.using_sqlite(), self._errors():
            connection = self._reader()
            try:
                self._limit(connection, _READ_STEPS)
                connection.execute("BEGIN")
                with _no_statement_left(connection):
                    yield connection
            finally:
                self._give_back(connection)

    @contextmanager
    def apart(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own, to write what no transaction of ``write`` can. Raises
        ``StoreError``."""
        self._check_writable()
        with forks.using_sqlite(), self._errors():
            connection = self._connect()
            try:
                self._limit(connection, _READ_STEPS)
                yield connection
            finally:
                self._close(connection)

    def bytes(self) -> int:
        """Length of the file, without its log."""
        with self._errors():
            return os.path.getsize(self.path)

    def log_bytes(self) -> int:
        """Length of the write-ahead log."""
        try:
            return os.path.getsize(f"{os.path.realpath(self.path)}-wal")
        except FileNotFoundError:
            return 0

    def backup(self, path: str) -> None:
        """Copy the live database to ``path``, which is replaced only when the copy is complete.

        Raises ``StoreError``, also for a database in use: its log would be read into the copy."""
        path = os.path.realpath(path)  # as it is what would be replaced
        with forks.using_sqlite(), self._errors(path):
            _check_replaceable(path)
            with replacing(path) as partial:
                self._copy(str(partial))

    def close(self) -> None:
        """Let nobody in any more, and close what is not in use; what is, its user closes when it
        is done. Waits for no user. Safe to call twice."""
        with forks.using_sqlite(), self._pool:
            self._closed = True
            self._close_unused()
            self._end()

    def before_fork(self) -> None:
        """See ``hymem.system.forks``. What is in memory can be had by a connection alone, so that
        one stays; it has no file that its copy in the child could spoil."""
        if not self.in_memory:
            with self._pool, suppress(sqlite3.Error):  # then the child will find one open
                self._close_unused()

    def after_fork(self, calm: bool) -> None:
        """See ``hymem.system.forks``."""
        self._lock, self._pool = threading.RLock(), threading.RLock()
        if self.raw is not None and not self._closed:
            try:
                self.raw.reopen()
            except OSError:
                calm = False
        if not calm or (self._writer_users if self.in_memory else self._connections):
            self._lose()

    def _lose(self) -> None:
        """Connections of the parent are open. SQLite here takes its locks for ours, so that none
        to the same file would be safe."""
        _of_parents.append((self._idle, self._writer))
        self._idle, self._writer, self._writer_users = [], None, 0
        self._lost = True
        if self.raw is not None:
            _lost_files.add(self.raw.identity)

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

    @contextmanager
    def _own(self) -> Iterator[sqlite3.Connection]:
        """The writer, which stays open while this block lasts. Hold the lock."""
        with self._pool:
            self._check_usable()
            if self._writer is None:
                self._writer = self._connect()
            self._writer_users += 1
            connection = self._writer
        try:
            yield connection
        finally:
            with self._pool:
                self._writer_users -= 1
                if self._closed:
                    self._close_writer()

    def _close_unused(self) -> None:
        while self._idle:
            self._close(self._idle.pop())
        self._close_writer()

    def _close_writer(self) -> None:
        if self._writer is not None and not self._writer_users:
            writer, self._writer = self._writer, None
            self._close(writer)

    def _check_writable(self) -> None:
        if self.read_only and not self._closed:
            raise refusal(self.path)

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreClosedError
        if self._lost or (self.raw is not None and self.raw.identity in _lost_files):
            raise StoreError(
                f"{self.path}: this process was forked while the memory was in use, so it cannot "
                "be used here; fork while no call is under way, or open it after the fork only"
            )

    def _close(self, connection: sqlite3.Connection) -> None:
        if self._lost:
            _of_parents.append(connection)
            return
        connection.close()
        with self._pool:
            self._connections -= 1
            self._end()

    def _end(self) -> None:
        """Once it is closed and the last connection has gone. The raw file's handle goes after
        them, or it would take their locks along."""
        if self._closed and not self._connections:
            if self.raw is not None:
                self.raw.close()
            forks.forget(self)

    def _reader(self) -> sqlite3.Connection:
        """A connection that nobody else uses until it is given back."""
        with self._pool:
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _give_back(self, connection: sqlite3.Connection) -> None:
        """End a view, and keep its connection for the next one unless the database is closed."""
        kept = False
        try:
            if connection.in_transaction and not self._lost:
                connection.execute("COMMIT")
            with self._pool:
                if not self._closed and not self._lost and not self.read_only:
                    self._idle.append(connection)
                    kept = True
        finally:
            if not kept:
                self._close(connection)

    def _limit(self, connection: sqlite3.Connection, steps: int) -> None:
        """Let a transaction take ``steps`` of SQLite's virtual machine, and more in a larger file.
        In a file made for it, pages that lead to one another many times over have no end."""
        if self.in_memory:
            return
        taken = 0

        def too_many() -> bool:
            nonlocal taken
            taken += _STEPS_AT_ONCE
            return taken > steps and taken > steps + self._pages() * _STEPS_PER_PAGE

        connection.set_progress_handler(too_many, _STEPS_AT_ONCE)

    def _pages(self) -> int:
        """About how many pages the file has, those in its log included."""
        return (self.bytes() + self.log_bytes()) // _PAGE

    def _connect(self) -> sqlite3.Connection:
        with self._pool:
            self._check_usable()
            self._connections += 1
        try:
            connection = sqlite3.connect(
                address(self.path) if self.read_only else self.path,
                timeout=BUSY_MS / 1000,
                isolation_level=None,
                check_same_thread=False,
                uri=self.read_only,
            )
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA cell_size_check = ON")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA cache_size = -16384")
        except BaseException:
            with self._pool:
                self._connections -= 1
                self._end()
            raise
        return connection

    @contextmanager
    def _errors(self, path: str | None = None) -> Iterator[None]:
        """Turn SQLite's errors into ``StoreError`` with advice; ``path``: the file at work, if it
        is not the database's own."""
        path = path or self.path
        try:
            yield
        except HyMemError:
            raise
        except _UNREADABLE as error:
            raise StoreError(
                f"{path} holds a value that HyMem does not write, or cannot take one "
                f"({type(error).__name__}: {error}); if the file is damaged, restore a backup"
            ) from error
        except sqlite3.Error as error:
            raise _told(path, error) from error
        except OSError as error:
            raise StoreError(f"{path} cannot be read or written: {error.strerror}") from error


def _check_name(path: str) -> None:
    if is_named_as_companion(path):
        raise StoreError(
            f"SQLite would take {path} for the log of another database; give it a name that ends "
            "otherwise"
        )


def _check_replaceable(path: str) -> None:
    """Whether a backup may take the place of ``path``. Raises ``StoreError`` and ``OSError``."""
    _check_name(path)
    if is_special(path):
        raise StoreError(f"{path} is no file that could be replaced; name one for the backup")
    if os.path.exists(f"{path}-wal"):
        raise StoreError(
            f"{path} is a database in use, or was not closed properly ({path}-wal lies beside "
            "it); name another file for the backup"
        )


@contextmanager
def _no_statement_left(connection: sqlite3.Connection) -> Iterator[None]:
    """Where the block fails, end the statements that it leaves halfway: each would keep its view of
    the database open, and the log with it, for as long as somebody holds the error."""
    try:
        yield
    except (InputError, NotFoundError):  # mistakes of the caller's, told before rows are read
        raise
    except BaseException:
        for cursor in gc.get_referrers(connection):
            if isinstance(cursor, sqlite3.Cursor):
                cursor.close()
        raise


def _told(path: str, error: sqlite3.Error) -> StoreError:
    name = getattr(error, "sqlite_errorname", "")
    advice = next((text for key, text in _ADVICE.items() if name.startswith(key)), "")
    if is_undecodable(error):  # its own message quotes the text
        return StoreError(f"{path} holds a text that is not UTF-8: {_DAMAGED}")
    return StoreError(f"{path}: {error}" + (f": {advice}" if advice else ""))
