"""A file that holds more, or less, than HyMem's own tables is refused before it is used."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hymem import HyMem, StoreError

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n"
CRAFTED = {
    "a trigger that copies": "CREATE TRIGGER t AFTER INSERT ON items"
    " BEGIN INSERT INTO meta VALUES (new.id, new.text); END",
    "a trigger that keeps": "CREATE TRIGGER t BEFORE DELETE ON items"
    " BEGIN SELECT RAISE(IGNORE); END",
    "a view without end": f"ALTER TABLE sessions RENAME TO s; CREATE VIEW sessions AS {ENDLESS}",
    "a view beside": f"CREATE VIEW more AS {ENDLESS}",
    "a table beside": "CREATE TABLE more (x)",
    "an index on an expression": "CREATE INDEX more ON items (length(zeroblob(1000000000)))",
    "an index that is gone": "DROP INDEX items_scope",
    "a table that is gone": "DROP TABLE history",
    "a generated column": "ALTER TABLE items ADD COLUMN more AS (hex(text))",
    "a full-text table": "CREATE VIRTUAL TABLE more USING fts5(x)",
}


@pytest.mark.parametrize("sql", CRAFTED.values(), ids=CRAFTED)
def test_a_foreign_program_in_the_file_is_not_run(tmp_path: Path, sql: str) -> None:
    path = tmp_path / "chat.db"
    with HyMem(path, llm=None, background=False) as memory:
        memory.add("I moved to Lyon.", user_id="ana")
    with sqlite3.connect(path) as connection:
        connection.executescript(sql)
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="changed by another program"):
        HyMem(path, llm=None)
    assert path.read_bytes() == before


def test_what_sqlite_adds_itself_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    with HyMem(path, llm=None, background=False) as memory:
        memory.add("I moved to Lyon.", user_id="ana")
    with sqlite3.connect(path) as connection:
        connection.execute("ANALYZE")
    connection.close()
    with HyMem(path, llm=None, background=False) as memory:
        assert memory.search("Lyon", user_id="ana")
