"""The tables, as numbered migrations: each a small function that brings a database one step on.

One ``items`` table holds turns and units, so that they share one id space, and
``AUTOINCREMENT`` keeps the id of a removed item from ever coming back. An index in memory is
brought up to date from three watermarks: the last item, the last event and the last change seen.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime, tzinfo
from functools import cache

from hymem.errors import StoreError, StoreVersionError
from hymem.stores.layout import Layout, check_layout, layout_of
from hymem.system.clock import Clock
from hymem.text.passages import PASSAGE_TOKENS

# "HyMe", at byte 68 of every HyMem database.
APPLICATION_ID = 0x48794D65
_MAGIC = b"SQLite format 3\x00"


def _first(connection: sqlite3.Connection) -> None:
    for statement in _TABLES.split(";"):
        connection.execute(statement)


_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE scopes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT,
    agent_id TEXT,
    next_position INTEGER NOT NULL DEFAULT 0,
    version INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX scopes_name ON scopes
    (user_id IS NULL, ifnull(user_id, ''), agent_id IS NULL, ifnull(agent_id, ''));

CREATE TABLE sessions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    scope INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (scope, name)
);

CREATE TABLE speakers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    scope INTEGER NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (scope, name)
);

CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    scope INTEGER NOT NULL,
    kind TEXT NOT NULL,
    session INTEGER NOT NULL,
    position INTEGER NOT NULL,
    event INTEGER,
    time TEXT,
    seconds REAL,
    tokens INTEGER NOT NULL,
    role TEXT,
    speaker INTEGER,
    source_id TEXT,
    recalled INTEGER NOT NULL DEFAULT 0,
    fact TEXT,
    superseded_by INTEGER,
    duplicate_of INTEGER,
    embedded INTEGER NOT NULL,
    created REAL NOT NULL,
    terms BLOB NOT NULL,
    metadata TEXT NOT NULL,
    text TEXT NOT NULL,
    lexical TEXT
);
CREATE INDEX items_scope ON items (scope);
CREATE INDEX items_units ON items (scope) WHERE kind = 'unit';
CREATE UNIQUE INDEX items_source ON items (scope, source_id) WHERE source_id IS NOT NULL;
CREATE INDEX items_unsegmented ON items (scope) WHERE kind = 'turn' AND event IS NULL;
CREATE INDEX items_unembedded ON items (scope) WHERE embedded = 0;
CREATE INDEX items_fact ON items (scope, fact) WHERE fact IS NOT NULL;
CREATE INDEX items_event ON items (event) WHERE kind = 'unit';
CREATE INDEX items_superseded ON items (superseded_by) WHERE superseded_by IS NOT NULL;
CREATE INDEX items_duplicate ON items (duplicate_of) WHERE duplicate_of IS NOT NULL;

CREATE TABLE vectors (item INTEGER PRIMARY KEY, keys BLOB NOT NULL);
CREATE TABLE next_vectors (item INTEGER PRIMARY KEY, keys BLOB NOT NULL);

CREATE TABLE sources (
    unit INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    PRIMARY KEY (unit, turn)
) WITHOUT ROWID;
CREATE INDEX sources_turn ON sources (turn);

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    scope INTEGER NOT NULL,
    session INTEGER NOT NULL,
    time TEXT,
    status TEXT NOT NULL DEFAULT 'pending',
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT,
    token TEXT,
    expires REAL
);
CREATE INDEX events_scope ON events (scope);
CREATE INDEX events_open ON events (scope) WHERE status IN ('pending', 'leased');
CREATE INDEX events_failed ON events (scope) WHERE status = 'failed';

CREATE TABLE event_turns (
    event INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    PRIMARY KEY (event, turn)
) WITHOUT ROWID;
CREATE INDEX event_turns_turn ON event_turns (turn);

CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    scope INTEGER NOT NULL,
    item INTEGER NOT NULL
);
CREATE INDEX changes_scope ON changes (scope);

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    scope INTEGER NOT NULL,
    item INTEGER NOT NULL,
    event TEXT NOT NULL,
    text TEXT,
    at REAL NOT NULL
);
CREATE INDEX history_item ON history (item);
CREATE INDEX history_scope ON history (scope);

CREATE TABLE costs (
    id INTEGER PRIMARY KEY,
    scope INTEGER,
    at REAL NOT NULL,
    stage TEXT NOT NULL,
    tier TEXT NOT NULL,
    model TEXT NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    usd REAL,
    seconds REAL NOT NULL,
    estimated INTEGER NOT NULL
);
CREATE INDEX costs_at ON costs (at);
CREATE INDEX costs_scope ON costs (scope)
"""


def _token_ids(connection: sqlite3.Connection) -> None:
    """The ids of the tokens of an item's keys. A row of vectors fills a fifth of a page, and would
    fill a fourth with its ids in it, so they have tables of their own."""
    for table in ("tokens", "next_tokens"):
        connection.execute(f"CREATE TABLE {table} (item INTEGER PRIMARY KEY, ids BLOB NOT NULL)")


def _retries(connection: sqlite3.Connection) -> None:
    """A failed event is leased again when its time has come, which ``expires`` holds; those that
    have none, from before there were retries, are due at once."""
    connection.execute("DROP INDEX events_open")
    connection.execute(
        "CREATE INDEX events_open ON events (scope) WHERE status IN ('pending', 'leased', 'failed')"
    )
    connection.execute("UPDATE events SET expires = 0 WHERE status = 'failed'")


def _spans(connection: sqlite3.Connection) -> None:
    """Where the passages of a long turn lie, ``NULL`` for a turn of one. What is long among those
    that are there is embedded again, in passages; until then its old keys serve."""
    connection.execute("ALTER TABLE items ADD COLUMN spans BLOB")
    connection.execute(
        f"UPDATE items SET embedded = 0 WHERE kind = 'turn' AND tokens > {PASSAGE_TOKENS}"
    )


def _zones(connection: sqlite3.Connection) -> None:
    """Times without a zone, which counted as UTC, lie in the memory's own: their days stay, and
    their instants become right. Indexes saved before hold the old ones."""
    changed = 0
    for table, more in (("items", ", seconds = seconds(placed(time))"), ("events", "")):
        changed += connection.execute(
            f"UPDATE {table} SET time = placed(time){more}"
            " WHERE time NOT LIKE '%+00:00' AND time <> placed(time)"
        ).rowcount
    if changed:
        connection.execute(
            "UPDATE meta SET value = lower(hex(randomblob(8))) WHERE key = 'lineage'"
        )


def _placed(text: str, clock: Clock) -> str:
    """A time that names no zone, in the clock's; any other as it is."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return text if moment.tzinfo else clock.place(moment).isoformat()


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _first,
    _token_ids,
    _retries,
    _spans,
    _zones,
)
VERSION = len(MIGRATIONS)


def check_head(path: str, head: bytes) -> None:
    """Refuse, before SQLite opens it, a file that is not ours or is newer than this program.
    ``head``: its first 100 bytes; none for a file that is still to be made.

    Raises ``StoreVersionError``.
    """
    if not head:
        return
    application = int.from_bytes(head[68:72], "big")
    if not head.startswith(_MAGIC) or len(head) < 100 or application != APPLICATION_ID:
        raise StoreVersionError(
            f"{path} is not a HyMem database (or its first page is damaged); it was left "
            "untouched. Name another file, or restore a backup."
        )
    _check_version(path, int.from_bytes(head[60:64], "big"))


def migrate(connection: sqlite3.Connection, path: str, zone: tzinfo | None = None) -> None:
    """Create the tables, or bring them from an older version to this one, in one transaction.
    ``zone``: of times that name none (default: the zone that the system is set to).

    Raises ``StoreError`` for a database that is not made of HyMem's tables alone, and
    ``StoreVersionError`` when another process has meanwhile made it newer.
    """
    _add_functions(connection, zone)
    connection.execute("BEGIN IMMEDIATE")
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        _check_version(path, version)
        check_layout(connection, path, _layout(version))
        for step in MIGRATIONS[version:]:
            step(connection)
        if version < VERSION:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_current(connection: sqlite3.Connection, path: str) -> None:
    """The same for a database that can only be read: nothing is brought to this version.

    Raises ``StoreError`` also for a database of an older version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    _check_version(path, version)
    if not version:
        raise StoreError(f"{path} has nothing in it, and is read-only; name another file")
    if version < VERSION:
        raise StoreError(
            f"{path} was written by an older HyMem (schema {version}; this one knows {VERSION}) "
            "and must be brought up to date, but is read-only. Change its permissions, or copy it "
            "into a folder of your own, and open it again."
        )
    check_layout(connection, path, _layout(version))


def _add_functions(connection: sqlite3.Connection, zone: tzinfo | None) -> None:
    """What the migrations call."""
    clock = Clock(zone)
    connection.create_function("placed", 1, lambda text: _placed(text, clock), deterministic=True)
    connection.create_function("seconds", 1, _seconds, deterministic=True)


@cache
def _layout(version: int) -> Layout:
    """What a database of this version is made of."""
    connection = sqlite3.connect(":memory:")
    _add_functions(connection, None)
    try:
        for step in MIGRATIONS[:version]:
            step(connection)
        return layout_of(connection)
    finally:
        connection.close()


def _check_version(path: str, version: int) -> None:
    if version > VERSION:
        raise StoreVersionError(
            f"{path} was written by a newer HyMem (schema {version}; this one knows {VERSION}); "
            "it was left untouched. Upgrade hymem to open it."
        )
