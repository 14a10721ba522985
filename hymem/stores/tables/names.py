"""Scopes, and the names of sessions and speakers within them."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Sequence
from typing import Any

from hymem.errors import InputError
from hymem.stores.damage import MOST_TURNS, damaged, name_from_bytes
from hymem.types import Scope

log = logging.getLogger(__name__)


def find_scope(connection: sqlite3.Connection, scope: Scope) -> int | None:
    """Raises ``InputError`` for a name that UTF-8 cannot hold."""
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


def asked_for(connection: sqlite3.Connection, scope: Scope | None) -> int | None:
    """The scope's id, and one that no scope has if there is none such; ``None`` stands for all."""
    return None if scope is None else find_scope(connection, scope) or -1


def make_scope(connection: sqlite3.Connection, scope: Scope) -> int:
    """The scope's id; it is entered if new."""
    found = find_scope(connection, scope)
    if found is not None:
        return found
    made = connection.execute(
        "INSERT INTO scopes (user_id, agent_id) VALUES (?, ?)", (scope.user_id, scope.agent_id)
    )
    return int(made.lastrowid or 0)


def scopes(
    connection: sqlite3.Connection, condition: str = "1", values: Sequence[Any] = ()
) -> list[Scope]:
    """The scopes of which ``condition`` holds, by id."""
    return list(named_scopes(connection, condition, values).values())


def named_scopes(
    connection: sqlite3.Connection, condition: str, values: Sequence[Any] = ()
) -> dict[int, Scope]:
    """By their ids, which ascend. A scope whose name is damaged cannot be asked for, so it is left
    out, and told in the log."""
    rows = connection.execute(
        "SELECT id, typeof(user_id), CAST(user_id AS BLOB), typeof(agent_id),"
        f" CAST(agent_id AS BLOB) FROM scopes WHERE {condition} ORDER BY id",
        values,
    )
    found = {}
    for number, *user, agent_type, agent in rows:
        try:
            found[number] = Scope(name_from_bytes(*user), name_from_bytes(agent_type, agent))
        except ValueError:
            log.warning("scope %d has a damaged name and is left out", number)
    return found


def scope_of(connection: sqlite3.Connection, number: int, what: str) -> Scope:
    """The scope with this id. Raises ``StoreError`` where it cannot be named; ``what`` is of it."""
    named = scopes(connection, "id = ?", (number,))
    if not named:
        raise damaged(what, "scope")
    return named[0]


def name_id(connection: sqlite3.Connection, table: str, scope_id: int, name: str) -> int:
    """The id of a name in ``sessions`` or ``speakers``, where it is entered if new."""
    row = connection.execute(
        f"SELECT id FROM {table} WHERE scope = ? AND name = ?", (scope_id, name)
    ).fetchone()
    if row is not None:
        return int(row[0])
    made = connection.execute(f"INSERT INTO {table} (scope, name) VALUES (?, ?)", (scope_id, name))
    return int(made.lastrowid or 0)


def forget_names(connection: sqlite3.Connection, scope_id: int, session: int, speaker: int) -> None:
    """Remove the names of a session and a speaker of whom nothing is left."""
    gone = "WHERE id = :id AND NOT EXISTS (SELECT 1 FROM items WHERE scope = :scope AND {} = :id)"
    connection.execute(
        f"DELETE FROM sessions {gone.format('session')}"
        " AND NOT EXISTS (SELECT 1 FROM events WHERE scope = :scope AND session = :id)",
        {"id": session, "scope": scope_id},
    )
    # The row stays: indexes in memory know a speaker by its place among the rows.
    connection.execute(
        f"UPDATE speakers SET name = :nobody {gone.format('speaker')}",
        {"id": speaker, "scope": scope_id, "nobody": secrets.token_hex(8)},
    )


def next_position(connection: sqlite3.Connection, scope_id: int) -> int:
    """Where the scope's next turn stands. Raises ``StoreError``."""
    query = "SELECT next_position FROM scopes WHERE id = ?"
    (position,) = connection.execute(query, (scope_id,)).fetchone()
    if not isinstance(position, int) or not 0 <= position < MOST_TURNS:
        raise damaged(f"scope {scope_id}", "next position")
    return position


def touch(connection: sqlite3.Connection, scope_id: int) -> None:
    """Tell every process that its index of this scope is behind."""
    connection.execute("UPDATE scopes SET version = version + 1 WHERE id = ?", (scope_id,))


def _check_name(value: str | None) -> None:
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        raise InputError(
            f"user_id or agent_id {value!r} holds a lone surrogate; pass valid Unicode"
        ) from None
