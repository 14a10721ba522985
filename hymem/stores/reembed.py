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
from hymem.passages import PASSAGE_TOKENS
from hymem.stores.damage import damaged, is_undecodable
from hymem.stores.rows import ids_to_blob
from hymem.stores.tables.items import Items, check_keys, insert_keys
from hymem.types import Scope, Turn, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import TokenIds

log = logging.getLogger(__name__)


class Reembedding(Items):
    def to_reembed(self, limit: int) -> list[tuple[Scope, Turn | Unit]]:
        with self._db.write() as connection:
            if self._in_service(connection):
                return []
            self._aim(connection)
            # What lies behind the last new vector first; only then the gaps, left by updates.
            rows = connection.execute(
                "SELECT id, kind, scope FROM items"
                " WHERE id > (SELECT ifnull(max(item), 0) FROM next_vectors) ORDER BY id LIMIT ?",
                (limit,),
            ).fetchall()
            rows = rows or self._gaps(connection, limit)
            return self._readable(connection, rows)

    def put_reembedded(
        self, keys: Sequence[tuple[int, NDArray[np.float32], TokenIds | None]]
    ) -> None:
        for _, vectors, token_ids in keys:
            check_keys(vectors, self.dim, token_ids)
        with self._db.write() as connection:
            self._aim(connection)
            for item_id, vectors, token_ids in keys:
                if connection.execute("SELECT 1 FROM items WHERE id = ?", (item_id,)).fetchone():
                    insert_keys(connection, item_id, vectors, token_ids, "next_")

    def finish_reembed(self) -> bool:
        with self._db.write() as connection:
            if self._in_service(connection):
                return True
            self._aim(connection)
            if self._gaps(connection, 1):
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
            connection.execute("UPDATE meta SET value = ? WHERE key = 'encoder'", (self._encoder,))
            connection.execute("DELETE FROM meta WHERE key = 'next_encoder'")
        return True

    def uncoded(self, limit: int) -> list[Turn | Unit]:
        with self._db.read() as connection:
            rows = connection.execute(
                "SELECT id, kind FROM vectors v JOIN items ON id = item"
                " WHERE item <= (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'uncoded')"
                " AND embedded AND NOT EXISTS (SELECT 1 FROM tokens t WHERE t.item = v.item)"
                " ORDER BY item DESC LIMIT ?",
                (limit,),
            ).fetchall()
            return [self._described(connection, *row) for row in rows]

    def put_token_ids(self, ids: Sequence[tuple[int, TokenIds]]) -> None:
        with self._db.write() as connection:
            self._check_encoder(connection)
            connection.executemany(
                "INSERT OR IGNORE INTO tokens SELECT item, ? FROM vectors WHERE item = ?",
                [(ids_to_blob(token_ids), item_id) for item_id, token_ids in ids],
            )
            lowest = min(item_id for item_id, _ in ids)
            connection.execute("UPDATE meta SET value = ? WHERE key = 'uncoded'", (lowest - 1,))

    def _in_service(self, connection: sqlite3.Connection) -> bool:
        return self._meta(connection, "encoder") == self._encoder

    def _aim(self, connection: sqlite3.Connection) -> None:
        """Vectors of a run that was interrupted count only if they are of the same encoder."""
        row = connection.execute("SELECT value FROM meta WHERE key = 'next_encoder'").fetchone()
        if row is None or row[0] != self._encoder:
            for table in ("next_vectors", "next_tokens"):
                connection.execute(f"DELETE FROM {table}")
            connection.execute(
                "INSERT OR REPLACE INTO meta VALUES ('next_encoder', ?)", (self._encoder,)
            )

    def _gaps(self, connection: sqlite3.Connection, limit: int) -> list[tuple[int, str, int]]:
        return connection.execute(
            "SELECT id, kind, scope FROM items WHERE id NOT IN (SELECT item FROM next_vectors)"
            " ORDER BY id LIMIT ?",
            (limit,),
        ).fetchall()

    def _readable(
        self, connection: sqlite3.Connection, rows: Sequence[tuple[int, str, int]]
    ) -> list[tuple[Scope, Turn | Unit]]:
        """Those of these items that can be read. A damaged one gets no vectors, so that it does not
        keep the others from theirs."""
        found = []
        for item_id, kind, scope_id in rows:
            try:
                found.append(self._with_scope(connection, item_id, kind, scope_id))
            except (StoreError, sqlite3.OperationalError) as error:
                if not isinstance(error, StoreError) and not is_undecodable(error):
                    raise
                log.warning("memory %d is not encoded anew: it cannot be read", item_id)
                connection.execute(
                    "INSERT OR REPLACE INTO next_vectors VALUES (?, x'')", (item_id,)
                )
        return found

    def _with_scope(
        self, connection: sqlite3.Connection, item_id: int, kind: str, scope_id: int
    ) -> tuple[Scope, Turn | Unit]:
        named = self._scopes(connection, "id = ?", (scope_id,))
        if not named:
            raise damaged(f"memory {item_id}", "scope")
        return named[0], self._described(connection, item_id, kind)
