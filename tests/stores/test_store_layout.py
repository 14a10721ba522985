"""A file that holds more, or less, than HyMem's own tables is refused before it is used."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest
from crafted import FOREIGN, Craft, opened

from hymem import HyMem, StoreError


@pytest.mark.parametrize("craft", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_program_in_the_file_is_not_run(tmp_path: Path, craft: Craft) -> None:
    path = tmp_path / "chat.db"
    with opened(path) as memory:
        memory.add("I moved to Lyon.", user_id="ana")
    craft(path)
    before = path.read_bytes()
    start = time.monotonic()
    with pytest.raises(StoreError, match=r"(?i)restore a backup|upgrade hymem") as told:
        opened(path)
    assert str(path) in str(told.value)
    assert time.monotonic() - start < 5
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
