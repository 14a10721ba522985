"""Damaged, foreign and newer files; full disks, files without permission, busy databases."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filling import ANA, PATHS, encode, extract, found, open_store, turn, unit

from hymem.errors import StoreError, StoreVersionError
from hymem.stores.schema import VERSION
from hymem.stores.sqlite import SQLiteStore

Opened = Callable[..., SQLiteStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_store(tmp_path / "chat.db") as store:
        ids = store.add_turns(ANA, [turn(f"turn {i} of a long talk") for i in range(50)])
        extract(store, ANA, ids, [unit("a long talk", ids)])
    return tmp_path / "chat.db"


def refuse_untouched(path: Path, match: str) -> None:
    before = path.read_bytes()
    with pytest.raises(StoreVersionError, match=match):
        open_store(path)
    assert path.read_bytes() == before
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_a_newer_database_is_refused_untouched(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    refuse_untouched(path, "newer HyMem")


def test_another_programs_database_is_refused_untouched(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE items (x)")
    connection.close()
    refuse_untouched(tmp_path / "other.db", "not a HyMem database")


@pytest.mark.parametrize("content", [b"hello", b"\x00" * 5000, b"SQLite format 3\x00" + b"x" * 99])
def test_a_file_of_anything_else_is_refused_untouched(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "chat.db").write_bytes(content)
    refuse_untouched(tmp_path / "chat.db", "not a HyMem database")


def test_an_empty_file_becomes_a_database(tmp_path: Path) -> None:
    (tmp_path / "chat.db").touch()
    with open_store(tmp_path / "chat.db") as store:
        assert store.status().turns == 0


def test_damaged_pages_are_reported(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"), open_store(path) as store:
        store.list_turns(ANA)


def test_a_folder_and_a_missing_folder_are_reported(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "no" / "chat.db"):
        with pytest.raises(StoreError, match=str(wrong)):
            open_store(wrong)


def test_a_full_database_loses_nothing_and_goes_on_when_there_is_room(
    opened: Opened, path: Path
) -> None:
    store = opened()
    pages = store._db._writer.execute("PRAGMA page_count").fetchone()[0]
    store._db._writer.execute(f"PRAGMA max_page_count = {pages + 3}")

    def add_much() -> None:
        for number in range(1000):
            store.add_turns(ANA, [turn(f"extra {number} {'x' * 500}")])

    with pytest.raises(StoreError, match="full"):
        add_much()
    kept = [one.text for one in store.list_turns(ANA)]
    assert len(found(store, ANA, "talk extra", limit=2000, kinds=("turn",))) == len(kept) >= 50
    store._db._writer.execute("PRAGMA max_page_count = 1000000")
    store.add_turns(ANA, [turn("there is room")])
    store.close()
    with open_store(path) as again:
        assert [one.text for one in again.list_turns(ANA)] == [*kept, "there is room"]
        assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


FILL_THE_DISK = """
import resource, signal, sys
sys.path[:0] = {paths!r}
from filling import ANA, open_store, turn
from hymem.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with open_store({path!r}) as store:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
    try:
        for number in range(100_000):
            store.add_turns(ANA, [turn(f"extra {{number}}")])
            print(number, flush=True)
    except StoreError as error:
        print("StoreError", error, flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
"""


def test_when_writing_fails_every_acknowledged_turn_is_there(path: Path) -> None:
    size = path.stat().st_size + 300_000
    script = FILL_THE_DISK.format(paths=PATHS, path=str(path), size=size)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    *acknowledged, last = done.stdout.splitlines()
    assert last.startswith("StoreError"), done.stderr
    assert acknowledged
    with open_store(path) as store:
        texts = {one.text for one in store.list_turns(ANA)}
        assert {f"extra {number}" for number in acknowledged} <= texts
        assert len(found(store, ANA, "extra", limit=10_000)) >= len(acknowledged)


@contextmanager
def permissions_apply() -> Iterator[Path]:
    """A folder that everyone may enter, and, for root, a user whom permissions bind."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        root = os.geteuid() == 0
        with open_store(f"{folder}/chat.db") as store:
            store.add_turns(ANA, [turn("kept")])
        try:
            yield Path(folder) / "chat.db"
        finally:
            if root:
                os.seteuid(0)


def become_nobody() -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)


def test_a_file_without_permission_is_reported_and_untouched() -> None:
    with permissions_apply() as path:
        before = path.read_bytes()
        path.chmod(0o000)
        become_nobody()
        with pytest.raises(StoreError, match="cannot be read"):
            open_store(path)
        if os.geteuid() == 65534:
            os.seteuid(0)
        path.chmod(0o644)
        assert path.read_bytes() == before
        with open_store(path) as store:
            assert [one.text for one in store.list_turns(ANA)] == ["kept"]


def test_every_connection_is_durable_and_overwrites_what_is_deleted(opened: Opened) -> None:
    store = opened()
    for connect in (store._db.write, store._db.read):
        with connect() as connection:
            settings = [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "secure_delete", "temp_store")
            ]
            assert settings == ["wal", 2, 1, 2]


@pytest.mark.parametrize("connect", ["read", "write"])
def test_a_read_that_fails_halfway_keeps_no_view_open(opened: Opened, connect: str) -> None:
    store = opened()
    store.add_turns(ANA, [turn(f"row {number}") for number in range(9)])

    def fail() -> None:
        with getattr(store._db, connect)() as connection:
            rows = connection.execute("SELECT id FROM items")
            raise ValueError(next(rows))

    with pytest.raises(StoreError, match="ValueError") as held:  # by a log, say
        fail()
    assert store.delete_all(ANA) == 9  # else it would tell of somebody who reads an older state
    assert held.value.__cause__ is not None
    store.add_turns(ANA, [turn("x")])


def test_a_busy_database_is_reported(
    opened: Opened, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymem.stores.database.BUSY_MS", 50)
    store = opened()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="another process holds"):
        store.add_turns(ANA, [turn("x")])
    assert store.candidates(ANA, encode("talk"), "talk", 3).turns_total == 50
    other.execute("ROLLBACK")
    other.close()
    store.add_turns(ANA, [turn("x")])
