"""What a deletion owes: that no byte of what was deleted is left in the file or its log.

``owe`` notes the debt in the transaction that deletes, so that every process knows of it, also
after a kill. ``wipe`` pays it, piece by piece, so that writers wait for moments only.
"""

from __future__ import annotations

import sqlite3
import time

from hymem.stores.database import Database

# Bytes of the file that are swept while nobody else may write: about a tenth of a second.
_PIECE = 128 << 20
# Then comes who waits to write: SQLite looks every tenth of a second whether it may.
_TURN_SECONDS = 0.11
# Readers are waited for so long at a time; then writers get their turn.
_WAIT_MS = 50
_PAUSE_SECONDS = 0.02


def owe(connection: sqlite3.Connection) -> None:
    """Note, in a transaction that deletes, that the file is to be swept from its start."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('owed', '0')")


def owed(connection: sqlite3.Connection) -> int | None:
    """The byte from which on the file is still to be swept; ``None`` if nothing is owed."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'owed'").fetchone()
    return None if row is None else int(row[0]) if str(row[0]).isdecimal() else 0


def wipe(db: Database, seconds: float) -> bool:
    """Empty the log and sweep the file, if that is owed. False if others were in the way for
    ``seconds``: then it is owed still. Raises ``StoreError``."""
    if db.in_memory:
        return True
    with db.apart() as connection:
        connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS}")
        end = time.monotonic() + seconds
        while owed(connection) is not None:
            if _empty_log(connection) and _wipe_piece(db, connection):
                if owed(connection) is not None:
                    time.sleep(_TURN_SECONDS)
                end = time.monotonic() + seconds
            elif time.monotonic() > end:
                return False
            else:
                time.sleep(_PAUSE_SECONDS)
    return True


def compact(db: Database) -> int:
    """Rewrite the file without the room that deleted rows left; how many bytes that gives back, to
    the disk as soon as nobody reads an older state. Raises ``StoreError``."""
    if db.in_memory:
        return 0
    with db.apart() as connection:
        # In memory, as all else that is temporary, a large file might not fit. SQLite's own
        # temporary file has no name.
        connection.execute("PRAGMA temp_store = FILE")
        before = _bytes(connection)
        connection.execute("VACUUM")
        freed = before - _bytes(connection)
        connection.execute(f"PRAGMA busy_timeout = {_WAIT_MS}")
        _empty_log(connection)
    return freed


def _empty_log(connection: sqlite3.Connection) -> bool:
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def _wipe_piece(db: Database, connection: sqlite3.Connection) -> bool:
    """Sweep on for a piece; false if others were in the way."""
    from hymem.stores.sweep import page_size, sweep

    assert db.raw is not None
    size = page_size(db.raw.read(0, 100))
    if not size:
        connection.execute("VACUUM")
        if not _empty_log(connection):
            return False
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith("SQLITE_BUSY"):
            return False
        raise
    try:
        # The log is empty and nobody else may write, so nobody copies pages into the file either.
        quiet = not db.log_bytes()
        start = owed(connection)
        if quiet and start is not None:
            done = sweep(db.raw, size, start, _PIECE) if size else 0
            db.raw.sync()
            # This commit also makes every other connection forget the pages that it has cached:
            # written back, they would bring their gaps along.
            if done < _PIECE:
                connection.execute("DELETE FROM meta WHERE key = 'owed'")
            else:
                query = "UPDATE meta SET value = ? WHERE key = 'owed'"
                connection.execute(query, (str(start + done),))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return quiet


def _bytes(connection: sqlite3.Connection) -> int:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int(pages) * int(size)
