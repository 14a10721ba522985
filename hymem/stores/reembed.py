"""Encoding everything anew, beside the vectors in service.

New vectors gather in a table of their own and replace the old ones in one transaction, so an
interrupted run leaves the old encoder in service and the next run goes on where it stopped.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hymem.errors import StoreError
from hymem.stores.damage import is_undecodable
from hymem.stores.rows import ids_to_blob
from hymem.stores.tables.items import item_of
from hymem.stores.tables.keys import insert_keys
from hymem.stores.tables.meta import value_of
from hymem.stores.tables.names import scope_of
from hymem.text.passages import PASSAGE_TOKENS
from hymem.types import Scope, Turn, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import TokenIds

log = logging.getLogger(__name__)


def to_reembed(
    connection: sqlite3.Connection, encoder: str, limit: int
) -> list[tuple[Scope, Turn | Unit]]:
    """See ``Store.to_reembed``."""
    if _in_service(connection, encoder):
        return []
    _aim(connection, encoder)
    # What lies behind the last new vector first; only then the gaps, left by updates.
    rows = connection.execute(
        "SELECT id, kind, scope FROM items"
        " WHERE id > (SELECT ifnull(max(item), 0) FROM next_vectors) ORDER BY id LIMIT ?",
        (limit,),
    ).fetchall()
    return _readable(connection, rows or _gaps(connection, limit))


def put_reembedded(
    connection: sqlite3.Connection,
    encoder: str,
    keys: Sequence[tuple[int, NDArray[np.float32], TokenIds | None]],
) -> None:
    """See ``Store.put_reembedded``."""
    _aim(connection, encoder)
    for item_id, vectors, token_ids in keys:
        if connection.execute("SELECT 1 FROM items WHERE id = ?", (item_id,)).fetchone():
            insert_keys(connection, item_id, vectors, token_ids, "next_")


def finish_reembed(connection: sqlite3.Connection, encoder: str) -> bool:
    """See ``Store.finish_reembed``."""
    if _in_service(connection, encoder):
        return True
    _aim(connection, encoder)
    if _gaps(connection, 1):
        return False
    for table, column in (("vectors", "keys"), ("tokens", "ids")):
        connection.execute(f"DROP TABLE {table}")
        connection.execute(f"ALTER TABLE next_{table} RENAME TO {table}")
        connection.execute(
            f"CREATE TABLE next_{table} (item INTEGER PRIMARY KEY, {column} BLOB NOT NULL)"
        )
    # What is to be cut into passages still waits for that.
    connection.execute(
        "UPDATE items SET embedded = 1 WHERE embedded = 0 AND (spans IS NOT NULL"
        f" OR kind = 'unit' OR tokens <= {PASSAGE_TOKENS})"
    )
    connection.execute("UPDATE scopes SET version = version + 1")
    connection.execute("UPDATE meta SET value = ? WHERE key = 'encoder'", (encoder,))
    connection.execute("DELETE FROM meta WHERE key = 'next_encoder'")
    return True


def uncoded(connection: sqlite3.Connection, limit: int) -> list[Turn | Unit]:
    """See ``Store.uncoded``."""
    rows = connection.execute(
        "SELECT id, kind FROM vectors v JOIN items ON id = item"
        " WHERE item <= (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'uncoded')"
        " AND embedded AND NOT EXISTS (SELECT 1 FROM tokens t WHERE t.item = v.item)"
        " ORDER BY item DESC LIMIT ?",
        (limit,),
    ).fetchall()
    return [item_of(connection, *row) for row in rows]


def put_token_ids(connection: sqlite3.Connection, ids: Sequence[tuple[int, TokenIds]]) -> None:
    """See ``Store.put_token_ids``."""
    connection.executemany(
        "INSERT OR IGNORE INTO tokens SELECT item, ? FROM vectors WHERE item = ?",
        [(ids_to_blob(token_ids), item_id) for item_id, token_ids in ids],
    )
    lowest = min(item_id for item_id, _ in ids)
    connection.execute("UPDATE meta SET value = ? WHERE key = 'uncoded'", (lowest - 1,))


def _in_service(connection: sqlite3.Connection, encoder: str) -> bool:
    return value_of(connection, "encoder") == encoder


def _aim(connection: sqlite3.Connection, encoder: str) -> None:
    """Vectors of a run that was interrupted count only if they are of the same encoder."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'next_encoder'").fetchone()
    if row is None or row[0] != encoder:
        for table in ("next_vectors", "next_tokens"):
            connection.execute(f"DELETE FROM {table}")
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('next_encoder', ?)", (encoder,))


def _gaps(connection: sqlite3.Connection, limit: int) -> list[tuple[int, str, int]]:
    return connection.execute(
        "SELECT id, kind, scope FROM items WHERE id NOT IN (SELECT item FROM next_vectors)"
        " ORDER BY id LIMIT ?",
        (limit,),
    ).fetchall()


def _readable(
    connection: sqlite3.Connection, rows: Sequence[tuple[int, str, int]]
) -> list[tuple[Scope, Turn | Unit]]:
    """Those of these items that can be read. A damaged one gets no vectors, so that it does not
    keep the others from theirs."""
    found = []
    for item_id, kind, scope_id in rows:
        try:
            scope = scope_of(connection, scope_id, f"memory {item_id}")
            found.append((scope, item_of(connection, item_id, kind)))
        except (StoreError, sqlite3.OperationalError) as error:
            if not isinstance(error, StoreError) and not is_undecodable(error):
                raise
            log.warning("memory %d is not encoded anew: it cannot be read", item_id)
            connection.execute("INSERT OR REPLACE INTO next_vectors VALUES (?, x'')", (item_id,))
    return found
