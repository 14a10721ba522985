"""Nothing in a database but what HyMem put there, known before any of it is used.

A view, a trigger, a generated column or an index on an expression is a program that SQLite runs
when a table is read or written; a file from somebody else may hold one that never ends.
"""

from __future__ import annotations

import re
import sqlite3

from hymem.errors import StoreError

# (type, name) of every table and index: the table it belongs to, and how it is made.
Layout = dict[tuple[str, str], tuple[str, str]]

# What SQLite adds itself: to count ids, and when somebody has run ANALYZE.
_OF_SQLITE = {
    "CREATETABLEsqlite_sequence(name,seq)",
    "CREATETABLEsqlite_stat1(tbl,idx,stat)",
    "CREATETABLEsqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)",
}


def layout_of(connection: sqlite3.Connection) -> Layout:
    """All that the database is made of, but for what SQLite adds itself."""
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    found = {(str(row[0]), str(row[1])): (str(row[2]), _plain(row[3])) for row in rows}
    return {key: made for key, made in found.items() if made[1] not in _OF_SQLITE}


def check_layout(connection: sqlite3.Connection, path: str, expected: Layout) -> None:
    """Raises ``StoreError`` unless the database is made of just what is ``expected``."""
    (encoding,) = connection.execute("PRAGMA encoding").fetchone()
    if encoding != "UTF-8":
        raise _foreign(path, f"texts in {encoding}")
    found = layout_of(connection)
    for kind, name in found:
        if found[kind, name] != expected.get((kind, name)):
            raise _foreign(path, f"the {kind} {name!r}, which is not as HyMem makes it")
    if missing := expected.keys() - found.keys():
        kind, name = min(missing)
        raise _foreign(path, f"no {kind} {name!r}")
    pages = [row[0] for row in connection.execute("SELECT rootpage FROM sqlite_master")]
    if len(set(pages)) < len(pages):
        raise _foreign(path, "two tables or indexes in one place")


def _foreign(path: str, what: str) -> StoreError:
    return StoreError(
        f"{path} holds {what}: it was damaged or changed by another program, and was left "
        "untouched. Restore a backup, or import an export into a new file."
    )


def _plain(sql: object) -> str:
    """Without what differs between a table as it was made and one that was renamed since."""
    return re.sub(r'[\s"]+', "", sql) if isinstance(sql, str) else ""
