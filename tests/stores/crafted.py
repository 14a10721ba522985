"""Databases as nobody should make them: changed by other programs, damaged, or built to do harm."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filling import DIM, encode
from numpy.typing import NDArray

from hymem import Filter, HyMem
from hymem.types import Scope

Craft = Callable[[Path], None]


class Encoder:
    """The hashed words of ``filling``, as a ``HyMem`` takes them."""

    name, version, dim, max_tokens = "hashed", "1", DIM, 16

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.array([encode(text) for text in texts], np.float32).reshape(-1, DIM)


def opened(path: Path) -> HyMem:
    return HyMem(path, llm=None, encoder=Encoder(), background=False)


def make(path: Path) -> None:
    """Two users with everything that a file can hold."""
    with opened(path) as memory:
        for user in ("ana", "ben"):
            for number in range(12):
                memory.add(
                    {
                        "role": "user",
                        "content": f"{user} bought a red kettle number {number} in Lyon.",
                        "id": f"{user} {number}",
                        "name": user,
                        "metadata": {"n": number},
                    },
                    user_id=user,
                    session_id=f"s{number // 4}",
                    timestamp=1_770_000_000 + number,
                )
            memory.add("My home is in Oslo. " * 30, user_id=user, wait=True)
            first, second, *_ = memory.get_all(user_id=user)
            memory.update(first.id, f"{user} bought a blue kettle.", user_id=user)
            memory.delete(second.id, user_id=user)
            memory.flush(user_id=user)
            memory.add(f"{user} waits.", user_id=user)
            store = memory._store
            store.add_costs([{"scope": Scope(user), "stage": "light", "usd": 0.1}])
            waiting = [one.id for one in store.unsegmented(Scope(user), 9)]
            store.add_events(Scope(user), [(waiting, waiting)])
            lease = store.lease_events(Scope(user), 1, 9.0)
            assert lease is not None
            store.fail_event(lease, lease.events[0].id, "no model", 1000.0)


@contextmanager
def changed(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that may do anything to the file."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA ignore_check_constraints = ON")
        yield connection
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def by_sql(*statements: str) -> Craft:
    def craft(path: Path) -> None:
        with changed(path) as connection:
            for statement in statements:
                connection.execute(statement)

    return craft


def by_bytes(change: Callable[[bytearray], bytearray | None]) -> Craft:
    def craft(path: Path) -> None:
        content = bytearray(path.read_bytes())
        path.write_bytes(change(content) or content)

    return craft


_ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
_BOMB = "hex(zeroblob(900000000))"


def replaced_by_view(table: str) -> Craft:
    columns = "1 AS id, 1 AS scope, 'turn' AS kind, 'x' AS user_id, 'x' AS key, 'x' AS value"
    return by_sql(
        f"ALTER TABLE {table} RENAME TO old",
        f"CREATE VIEW {table} AS SELECT {columns} FROM ({_ENDLESS})",
    )


# Each is refused before anything but the list of tables is read.
FOREIGN: dict[str, Craft] = {
    "endless view": by_sql(f"CREATE VIEW v AS {_ENDLESS}"),
    **{f"{table} is a view": replaced_by_view(table) for table in ("meta", "scopes", "items")},
    "trigger": by_sql(
        "CREATE TRIGGER t AFTER INSERT ON items BEGIN UPDATE items SET text = 'x'; END"
    ),
    "endless trigger": by_sql(
        f"CREATE TRIGGER t BEFORE INSERT ON meta BEGIN SELECT max(x) FROM ({_ENDLESS}); END"
    ),
    "full-text table": by_sql("CREATE VIRTUAL TABLE f USING fts5(x)"),
    "unknown module": by_sql(
        "INSERT INTO sqlite_master VALUES"
        " ('table', 'f', 'f', 0, 'CREATE VIRTUAL TABLE f USING nothing(x)')"
    ),
    "generated column": by_sql(
        f"ALTER TABLE items ADD COLUMN g AS ({_BOMB})",
    ),
    "check that takes for ever": by_sql(
        "UPDATE sqlite_master SET sql = replace(sql, 'value TEXT NOT NULL',"
        f" 'value TEXT NOT NULL CHECK (length({_BOMB}) > 0)') WHERE name = 'meta'"
    ),
    "default that takes for ever": by_sql(
        "UPDATE sqlite_master SET sql = replace(sql, 'DEFAULT 0,',"
        f" 'DEFAULT (length({_BOMB})),') WHERE name = 'scopes'"
    ),
    "index on an expression": by_sql("CREATE INDEX i ON items (length(text))"),
    "another table": by_sql("CREATE TABLE other (x)"),
    "another index": by_sql("CREATE INDEX i ON items (text)"),
    "another column": by_sql("ALTER TABLE items ADD COLUMN more TEXT"),
    "a renamed column": by_sql("ALTER TABLE items RENAME COLUMN text TO words"),
    "no history": by_sql("DROP TABLE history"),
    "no index": by_sql("DROP INDEX items_source"),
    "no meta": by_sql("DROP TABLE meta"),
    "an index without uniqueness": by_sql(
        "DROP INDEX items_source",
        "CREATE INDEX items_source ON items (scope, source_id) WHERE source_id IS NOT NULL",
    ),
    "two tables in one place": by_sql(
        "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master"
        " WHERE name = 'items') WHERE name = 'vectors'"
    ),
    "a table without a place": by_sql(
        "UPDATE sqlite_master SET rootpage = 0 WHERE name = 'vectors'"
    ),
    "a table far behind the end": by_sql(
        "UPDATE sqlite_master SET rootpage = 99999 WHERE name = 'vectors'"
    ),
    "a table that cannot be read": by_sql(
        "UPDATE sqlite_master SET sql = 'CREATE TABLE vectors (' WHERE name = 'vectors'"
    ),
    "a table made by a select": by_sql(
        f"UPDATE sqlite_master SET sql = 'CREATE TABLE vectors AS {_ENDLESS}'"
        " WHERE name = 'vectors'"
    ),
    "a row of no type": by_sql(
        "INSERT INTO sqlite_master VALUES ('thing', 'x', 'x', 0, 'CREATE THING x')"
    ),
    "a row that is no text": by_sql("INSERT INTO sqlite_master VALUES (x'ff', 1, 2, 0, x'ff')"),
    "a table without SQL": by_sql("UPDATE sqlite_master SET sql = NULL WHERE name = 'sources'"),
    "tables of another version": by_sql("PRAGMA user_version = 1"),
    "no version": by_sql("PRAGMA user_version = 0"),
    "another program": by_sql("PRAGMA application_id = 1"),
    "a newer version": by_sql("PRAGMA user_version = 99"),
    "a version below zero": by_sql("PRAGMA user_version = -1"),
}


def _page_size(content: bytearray) -> int:
    return int.from_bytes(content[16:18], "big") or 4096


def _flip(seed: int) -> Craft:
    def change(content: bytearray) -> None:
        chance = random.Random(seed)
        for _ in range(chance.choice([1, 3, 30, 300])):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)

    return by_bytes(change)  # type: ignore[arg-type]


def _scramble_page(seed: int) -> Craft:
    def change(content: bytearray) -> None:
        chance, size = random.Random(seed), _page_size(content)
        page = chance.randrange(1, len(content) // size)
        kind = chance.choice(["zero", "noise", "copy", "header"])
        start = page * size
        if kind == "zero":
            content[start : start + size] = bytes(size)
        elif kind == "noise":
            content[start : start + size] = chance.randbytes(size)
        elif kind == "copy":
            other = chance.randrange(1, len(content) // size) * size
            content[start : start + size] = content[other : other + size]
        else:
            content[start : start + 8] = chance.randbytes(8)

    return by_bytes(change)  # type: ignore[arg-type]


def _cut(seed: int) -> Craft:
    return by_bytes(lambda content: content[: random.Random(seed).randrange(101, len(content))])


def _head(place: int, value: int) -> Craft:
    def change(content: bytearray) -> None:
        content[place] = value

    return by_bytes(change)  # type: ignore[arg-type]


def _log_of_noise(path: Path) -> None:
    Path(f"{path}-wal").write_bytes(random.Random(1).randbytes(50_000))
    Path(f"{path}-shm").write_bytes(random.Random(2).randbytes(32_768))


def _journal_of_noise(path: Path) -> None:
    magic = bytes.fromhex("d9d505f920a163d7")
    Path(f"{path}-journal").write_bytes(magic + random.Random(3).randbytes(9_000))


def _many_times(path: Path, index: str, depth: int = 12) -> None:
    """Pages of an index that lead to one another, so that there are more rows than atoms."""
    content = bytearray(path.read_bytes())
    with changed(path) as connection:
        (root,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (index,)
        ).fetchone()
    size = _page_size(content)
    page = bytes(content[(root - 1) * size : root * size])
    cells = int.from_bytes(page[3:5], "big")
    places = [int.from_bytes(page[12 + 2 * i : 14 + 2 * i], "big") for i in range(cells)]

    def inner(child: int) -> bytes:
        made = bytearray(page)
        for place in (8, *places):
            made[place : place + 4] = child.to_bytes(4, "big")
        return bytes(made)

    child = int.from_bytes(page[places[0] : places[0] + 4], "big")
    for _ in range(depth):
        content += inner(child)
        child = len(content) // size
    content[(root - 1) * size : root * size] = inner(child)
    content[28:32] = (len(content) // size).to_bytes(4, "big")
    path.write_bytes(content)


def endless_index(path: Path) -> None:
    with opened(path) as memory:
        said = [{"role": "user", "content": f"row {number}"} for number in range(3000)]
        memory.add(said, user_id="ana")
    _many_times(path, "items_scope")


# Each is refused, or used as far as it goes.
DAMAGED: dict[str, Craft] = {
    "an endless index": endless_index,
    "a log of noise": _log_of_noise,
    "a journal of noise": _journal_of_noise,
    "UTF-16": _head(59, 2),
    "page size 512": by_bytes(lambda c: c[:16] + b"\x02\x00" + c[18:]),
    "page size 65536": by_bytes(lambda c: c[:16] + b"\x00\x01" + c[18:]),
    "page size 3": by_bytes(lambda c: c[:16] + b"\x00\x03" + c[18:]),
    "reserved bytes": _head(20, 200),
    "vacuum pages": _head(55, 1),
    "a free list that leads to itself": by_bytes(
        lambda c: c[:32] + b"\0\0\0\x05\0\0\0\x63" + c[40:]
    ),
    "write version 9": _head(18, 9),
    "read version 9": _head(19, 9),
    **{f"cut {seed}": _cut(seed) for seed in range(20)},
    **{f"flipped bits {seed}": _flip(seed) for seed in range(50)},
    **{f"a scrambled page {seed}": _scramble_page(seed) for seed in range(50)},
}


def copied(base: Path, folder: Path, craft: Craft) -> Path:
    path = folder / "chat.db"
    shutil.copy(base, path)
    craft(path)
    return path


USES: dict[str, Callable[[HyMem, str], object]] = {
    "get_all": lambda m, user: m.get_all(user_id=user),
    "get_all filtered": lambda m, user: m.get_all(
        user_id=user, where=Filter(metadata={"n": {"gte": 3}})
    ),
    "search": lambda m, user: m.search("red kettle in Lyon", user_id=user),
    "search filtered": lambda m, user: m.search(
        "kettle", user_id=user, where=Filter(metadata={"n": 5}, session_id="s1")
    ),
    "search as of": lambda m, user: m.search("kettle", user_id=user, as_of="2026-03-01"),
    "recall": lambda m, user: m.recall("What did I buy?", user_id=user),
    "ask": lambda m, user: m.ask("What did I buy in Lyon?", user_id=user),
    "history": lambda m, user: [
        m.history(one.id, user_id=user) for one in m.get_all(user_id=user)[:9]
    ],
    "status": lambda m, user: m.status(user_id=user),
    "costs": lambda m, user: m.costs(user_id=user),
    "add": lambda m, user: m.add("I bought a green kettle.", user_id=user),
    "flush": lambda m, user: m.flush(user_id=user),
    "export": lambda m, user: m.export("/dev/null", user_id=user),
    "compact": lambda m, user: m.compact(),
    "delete": lambda m, user: m.delete(m.add("x", user_id=user)[0], user_id=user),
    "delete_all": lambda m, user: m.delete_all(user_id=user),
}
OF_ALL: dict[str, Callable[[HyMem], object]] = {
    "scopes": lambda m: m.scopes(),
    "users": lambda m: m.users(),
    "status": lambda m: m.status(all_scopes=True),
    "costs": lambda m: m.costs(all_scopes=True, by=("scope", "day", "stage", "tier", "model")),
    "flush": lambda m: m.flush(all_scopes=True),
}

TABLES = {
    "meta": "key value",
    "scopes": "user_id agent_id next_position version",
    "sessions": "name scope",
    "speakers": "name scope",
    "items": (
        "scope kind session position event time seconds tokens role speaker source_id recalled fact"
        " superseded_by duplicate_of embedded created terms metadata text lexical spans"
    ),
    "vectors": "keys",
    "sources": "turn",
    "events": "scope session time status attempts error token expires",
    "event_turns": "turn",
    "changes": "scope item",
    "history": "scope item event text at",
    "costs": "at stage tier model input_tokens output_tokens cached_tokens usd seconds estimated",
}
# SQL of values that no column of theirs expects.
VALUES = {
    "null": "NULL",
    "bytes": "x'ff00fe'",
    "no UTF-8": "CAST(x'ff41' AS TEXT)",
    "a word": "'word'",
    "nothing": "''",
    "a brace": "'{'",
    "a list": "'[1, 2]'",
    "nested": f"'{'[' * 50_000}'",
    "below zero": "-1",
    "huge": "9223372036854775807",
    "large": "5000000000",
    "infinite": "9e999",
    "a fraction": "0.5",
    "a moment": "'2026-13-77T99:00'",
    "an old year": "'0001-01-01T00:00:00'",
    "long bytes": "zeroblob(100003)",
    "ones": "x'" + "ff" * 64 + "'",
}
# Where the rows of user ana are.
_OF_ANA = {
    "meta": "key = 'lineage'",
    "scopes": "user_id = 'ana'",
    "vectors": "item IN (SELECT id FROM items WHERE scope = 1)",
    "sources": "unit IN (SELECT id FROM items WHERE scope = 1)",
    "event_turns": "event IN (SELECT id FROM events WHERE scope = 1)",
}
CELLS = [
    (table, column, value)
    for table, columns in TABLES.items()
    for column in columns.split()
    for value in VALUES
]


def crafted_cell(table: str, column: str, value: str, *, every: bool) -> Craft:
    """One value of user ana's, or ``every`` one of the column, is replaced."""

    def craft(path: Path) -> None:
        made = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
        with changed(path) as connection:
            (sql,) = connection.execute(made, (table,)).fetchone()
        # Neither NOT NULL nor a column's type may be in the way.
        _declare(path, table, sql.replace(" NOT NULL", "").replace(" TEXT", ""))
        where = _OF_ANA.get(table, "scope = 1")
        key = {"meta": "key", "vectors": "item", "sources": "unit", "event_turns": "event"}
        name = key.get(table, "rowid")
        few = "" if every else f" ORDER BY {name} LIMIT 1"
        with changed(path) as connection:
            connection.execute(
                f"UPDATE OR IGNORE {table} SET {column} = {VALUES[value]}"
                f" WHERE {name} IN (SELECT {name} FROM {table} WHERE {where}{few})"
            )
        _declare(path, table, sql)

    return craft


def _declare(path: Path, table: str, sql: str) -> None:
    with changed(path) as connection:
        (version,) = connection.execute("PRAGMA schema_version").fetchone()
        connection.execute(
            "UPDATE sqlite_master SET sql = ? WHERE type = 'table' AND name = ?", (sql, table)
        )
        connection.execute(f"PRAGMA schema_version = {version + 1}")
