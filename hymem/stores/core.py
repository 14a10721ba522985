"""What every part of the SQLite store shares: the database, its encoder, scopes and sessions."""

from __future__ import annotations

import logging
import secrets
import sqlite3
import time
from collections.abc import Sequence
from datetime import tzinfo
from shlex import quote
from typing import Any

from hymem.encoders.named import option_for
from hymem.errors import EncoderMismatchError, InputError
from hymem.stores.damage import damaged, name_from_bytes
from hymem.stores.database import Database
from hymem.types import Scope

log = logging.getLogger(__name__)


class Core:
    """Opened on a path; the parts of ``SQLiteStore`` build on it."""

    def __init__(
        self,
        path: str,
        *,
        encoder_name: str,
        encoder_version: str,
        dim: int,
        vocabulary: str = "",
        reembed: bool = False,
        zone: tzinfo | None = None,
    ) -> None:
        """``zone``: where times without one were said, which stores of 0.1 hold (default: the zone
        that the system is set to)."""
        self.dim = dim
        self._plain_encoder = f"{encoder_name} {encoder_version} {dim}"
        self._encoder = f"{self._plain_encoder} {vocabulary}".rstrip()
        self._db = Database(path, zone)
        try:
            with self._db.read() if self.read_only else self._db.write() as connection:
                if not self.read_only:
                    connection.execute(
                        "INSERT OR IGNORE INTO meta VALUES ('lineage', ?)", (secrets.token_hex(8),)
                    )
                    self._adopt_encoder(connection)
                    self._adopt_vocabulary(connection)
                if not reembed:
                    self._check_encoder(connection)
        except BaseException:
            self._db.close()
            raise

    @property
    def read_only(self) -> bool:
        """Whether the file cannot be written: what would change it raises ``StoreError``."""
        return self._db.read_only

    def _adopt_encoder(self, connection: sqlite3.Connection) -> None:
        """A store without vectors takes the encoder it is opened with."""
        if not _has_vectors(connection):
            connection.execute(
                "INSERT OR REPLACE INTO meta VALUES ('encoder', ?)", (self._encoder,)
            )

    def _adopt_vocabulary(self, connection: sqlite3.Connection) -> None:
        """A store of this very encoder that kept no token ids so far will keep them: those of the
        items up to ``uncoded`` are to be filled in."""
        taken = connection.execute(
            "UPDATE meta SET value = ? WHERE key = 'encoder' AND value = ? AND value <> ?",
            (self._encoder, self._plain_encoder, self._encoder),
        )
        if taken.rowcount:
            connection.execute(
                "INSERT OR REPLACE INTO meta SELECT 'uncoded', ifnull(max(id), 0) FROM items"
            )

    def _check_encoder(self, connection: sqlite3.Connection) -> None:
        fitting = {self._encoder}
        if self.read_only:  # what would be adopted if it could be written
            if not _has_vectors(connection):
                return
            fitting.add(self._plain_encoder)
        found = self._meta(connection, "encoder")
        if found not in fitting:
            raise EncoderMismatchError(_mismatch(self._db.path, found, self._encoder))

    def _scope_id(self, connection: sqlite3.Connection, scope: Scope) -> int | None:
        for value in (scope.user_id, scope.agent_id):
            _check_name(value)
        row = connection.execute(
            "SELECT id FROM scopes WHERE (user_id IS NULL) = ? AND ifnull(user_id, '') = ?"
            " AND (agent_id IS NULL) = ? AND ifnull(agent_id, '') = ?",
            (
                scope.user_id is None,
                scope.user_id or "",
                scope.agent_id is None,
                scope.agent_id or "",
            ),
        ).fetchone()
        return None if row is None else int(row[0])

    def _scopes(
        self, connection: sqlite3.Connection, condition: str = "1", values: Sequence[Any] = ()
    ) -> list[Scope]:
        """The scopes of which ``condition`` holds, by id."""
        return list(self._named_scopes(connection, condition, values).values())

    def _named_scopes(
        self, connection: sqlite3.Connection, condition: str, values: Sequence[Any] = ()
    ) -> dict[int, Scope]:
        """By their ids, which ascend. A scope whose name is damaged cannot be asked for, so it is
        left out, and told in the log."""
        rows = connection.execute(
            "SELECT id, typeof(user_id), CAST(user_id AS BLOB), typeof(agent_id),"
            f" CAST(agent_id AS BLOB) FROM scopes WHERE {condition} ORDER BY id",
            values,
        )
        found = {}
        for scope_id, *user, agent_type, agent in rows:
            try:
                found[scope_id] = Scope(name_from_bytes(*user), name_from_bytes(agent_type, agent))
            except ValueError:
                log.warning("scope %d has a damaged name and is left out", scope_id)
        return found

    def _meta(self, connection: sqlite3.Connection, key: str) -> str:
        row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        if row is None or not isinstance(row[0], str):
            raise damaged("the database", key)
        return row[0]

    def _make_scope(self, connection: sqlite3.Connection, scope: Scope) -> int:
        found = self._scope_id(connection, scope)
        if found is not None:
            return found
        made = connection.execute(
            "INSERT INTO scopes (user_id, agent_id) VALUES (?, ?)", (scope.user_id, scope.agent_id)
        )
        return int(made.lastrowid or 0)

    def _number(self, connection: sqlite3.Connection, table: str, scope_id: int, name: str) -> int:
        """The id of a name in ``sessions`` or ``speakers``, where it is entered if new."""
        row = connection.execute(
            f"SELECT id FROM {table} WHERE scope = ? AND name = ?", (scope_id, name)
        ).fetchone()
        if row is not None:
            return int(row[0])
        made = connection.execute(
            f"INSERT INTO {table} (scope, name) VALUES (?, ?)", (scope_id, name)
        )
        return int(made.lastrowid or 0)

    def _touch(self, connection: sqlite3.Connection, scope_id: int) -> None:
        """Tell every process that its index of this scope is behind."""
        connection.execute("UPDATE scopes SET version = version + 1 WHERE id = ?", (scope_id,))

    def _changed(self, connection: sqlite3.Connection, scope_id: int, item_id: int) -> None:
        connection.execute("INSERT INTO changes (scope, item) VALUES (?, ?)", (scope_id, item_id))

    def _record(
        self,
        connection: sqlite3.Connection,
        scope_id: int,
        item_id: int,
        event: str,
        text: str | None,
        at: float | None = None,
    ) -> None:
        connection.execute(
            "INSERT INTO history (scope, item, event, text, at) VALUES (?, ?, ?, ?, ?)",
            (scope_id, item_id, event, text, time.time() if at is None else at),
        )


def _has_vectors(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM vectors LIMIT 1").fetchone() is not None


def _mismatch(path: str, found: str, own: str) -> str:
    """What works: the encoder that made the vectors, or vectors made anew by the one at hand."""
    theirs, ours = (option_for(name.split(" ")[0]) for name in (found, own))
    use = f" (--encoder {theirs} on the command line)" if theirs else ""
    command = f", or `hymem reembed --db {quote(path)} --encoder {ours}`" if ours else ""
    return (
        f"the vectors in {path} come from the encoder '{found}', not from '{own}' (name, version, "
        f"dimension, vocabulary). Open it with that encoder{use}, or encode every text anew with "
        f"yours: hymem.reembed({path!r}, encoder){command}"
    )


def _check_name(value: str | None) -> None:
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        raise InputError(
            f"user_id or agent_id {value!r} holds a lone surrogate; pass valid Unicode"
        ) from None
