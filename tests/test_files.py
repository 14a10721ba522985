"""Who may read a memory's files, and what is left when writing one fails or two write at once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hymem import HyMem, InputError, StoreError
from hymem.system.files import is_database, replacing

ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="permissions and locks of POSIX")


def rows() -> list[dict[str, str]]:
    return [{"role": "user", "content": f"row {number} of a talk"} for number in range(300)]


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[HyMem]:
    with HyMem(tmp_path / "m.db", llm=None, background=False) as opened:
        opened.add(rows(), user_id="ana")
        yield opened


@ON_POSIX
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_every_file_is_for_its_owner_alone(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymem.stores.index.upkeep.SMALLEST", 100)
    before = os.umask(umask)
    try:
        with HyMem(tmp_path / "m.db", llm=None, background=False) as memory:
            memory.add(rows(), user_id="ana")
            memory.search("row", user_id="ana")
            memory.backup(tmp_path / "b.db")
            memory.export(tmp_path / "e.jsonl", user_id="ana")
            found = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert {"m.db", "m.db-wal", "m.db-shm", "m.db.index", "b.db", "e.jsonl"} <= set(found)
    assert found.pop("m.db.index") == 0o700
    assert set(found.values()) == {0o600}
    snapshots = list((tmp_path / "m.db.index").iterdir())
    assert [path.stat().st_mode & 0o777 for path in snapshots] == [0o600]


@ON_POSIX
def test_an_existing_database_keeps_its_permissions(tmp_path: Path) -> None:
    HyMem(tmp_path / "m.db", llm=None, background=False).close()
    (tmp_path / "m.db").chmod(0o640)
    HyMem(tmp_path / "m.db", llm=None, background=False).close()
    assert (tmp_path / "m.db").stat().st_mode & 0o777 == 0o640


def test_a_failed_export_leaves_the_old_file(memory: HyMem, tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    memory.export(path, user_id="ana")
    before = path.read_bytes()
    with sqlite3.connect(tmp_path / "m.db") as connection:
        connection.execute("UPDATE items SET metadata = '{' WHERE id = 200")
    connection.close()
    with pytest.raises((StoreError, ValueError)):
        memory.export(path, user_id="ana")
    assert path.read_bytes() == before
    assert {one.name for one in tmp_path.iterdir()} == {"m.db", "m.db-wal", "m.db-shm", "e.jsonl"}


def test_an_export_never_replaces_a_database(memory: HyMem, tmp_path: Path) -> None:
    memory.backup(tmp_path / "b.db")
    for name in ("m.db", "b.db"):
        with pytest.raises(InputError, match="belongs to a database"):
            memory.export(tmp_path / name, user_id="ana")
    assert memory.search("talk", user_id="ana")
    assert is_database(tmp_path / "b.db")


def test_an_export_follows_a_link_and_fills_a_pipe(memory: HyMem, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "e.jsonl")
    count = memory.export(tmp_path / "link", user_id="ana")
    assert (tmp_path / "link").is_symlink()
    lines = (tmp_path / "far" / "e.jsonl").read_bytes().splitlines()
    assert len(lines) == count
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    assert memory.export(tmp_path / "pipe", user_id="ana") == count
    assert reader.communicate()[0].splitlines() == lines
    assert (tmp_path / "pipe").is_fifo()


def test_what_a_killed_process_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    old, young = tmp_path / ".e.jsonl.x1.partial", tmp_path / ".e.jsonl.x2.partial-wal"
    for one in (old, young):
        one.write_text("left")
    os.utime(old, (0, 0))
    with replacing(path) as partial:
        partial.write_text("new")
    assert {one.name for one in tmp_path.iterdir()} == {path.name, young.name}


BACK_UP = """
import sys
from hymem import HyMem, StoreError
with HyMem(sys.argv[1], llm=None, background=False) as memory:
    for _ in range(int(sys.argv[3])):
        memory.backup(sys.argv[2])
"""


def check_copy(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert connection.execute("SELECT count(*) FROM items").fetchone() == (300,)
    connection.close()


@pytest.mark.parametrize("rounds", [5, pytest.param(60, marks=pytest.mark.slow)])
def test_backups_to_one_path_at_once_all_end_well(
    memory: HyMem, tmp_path: Path, rounds: int
) -> None:
    path = tmp_path / "b.db"
    errors: list[BaseException] = []

    def back_up() -> None:
        try:
            for _ in range(rounds):
                memory.backup(path)
                check_copy(path)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=back_up) for _ in range(3)]
    command = [sys.executable, "-c", BACK_UP, str(tmp_path / "m.db"), str(path), str(rounds)]
    others = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(other.communicate()[1], other.returncode) for other in others] == [("", 0)] * 2
    assert errors == []
    check_copy(path)
    assert not [one.name for one in tmp_path.iterdir() if "partial" in one.name]


IS_LOCKED = """
import fcntl, sys
with open(sys.argv[1], "rb+") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 510, 0x40000002)
    except OSError:
        print("locked")
"""


@ON_POSIX
def test_a_second_memory_on_the_file_does_not_take_the_firsts_locks_away(
    memory: HyMem, tmp_path: Path
) -> None:
    """Without its lock, another process that closes the file would delete the log in use."""
    path = tmp_path / "m.db"

    def locked() -> bool:
        done = subprocess.run(
            [sys.executable, "-c", IS_LOCKED, str(path)], capture_output=True, text=True
        )
        assert done.stderr == ""
        return done.stdout == "locked\n"

    assert locked()
    with HyMem(path, llm=None, background=False):
        assert locked()
    assert locked()
    with pytest.raises(InputError):
        memory.export(path, user_id="ana")
    assert locked()
    memory.close()
    assert not locked()


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal"])
def test_nothing_is_written_in_the_place_of_a_databases_log(
    memory: HyMem, tmp_path: Path, ending: str
) -> None:
    beside = tmp_path / f"m.db{ending}"
    before = beside.read_bytes() if beside.exists() else None
    with pytest.raises(InputError, match="belongs to a database"):
        memory.export(beside, user_id="ana")
    with pytest.raises(StoreError, match="for the log of another"):
        memory.backup(beside)
    assert (beside.read_bytes() if beside.exists() else None) == before
    memory.export(tmp_path / f"free{ending}", user_id="ana")  # the log of nothing


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal"])
def test_no_memory_is_named_like_a_databases_log(
    memory: HyMem, tmp_path: Path, ending: str
) -> None:
    """Also where that database is not there yet: opened later, it would destroy the memory."""
    for path in (tmp_path / f"free.db{ending}", tmp_path / f"m.db{ending}"):
        before = path.read_bytes() if path.exists() else None
        with pytest.raises(StoreError, match="name that ends otherwise"):
            HyMem(path, llm=None, background=False)
        assert (path.read_bytes() if path.exists() else None) == before
    with pytest.raises(StoreError, match="name that ends otherwise"):
        memory.backup(tmp_path / f"free.db{ending}")  # which could not be opened then


@ON_POSIX
def test_a_backup_to_a_link_that_leads_nowhere_is_told(memory: HyMem, tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    for path in (loop, tmp_path / ("x" * 300)):
        with pytest.raises(StoreError, match="cannot be read or written"):
            memory.backup(path)


@ON_POSIX
def test_a_backup_replaces_no_device_and_follows_links(memory: HyMem, tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "latest.db"
    os.mkfifo(pipe)
    link.symlink_to(tmp_path / "m.db")
    with pytest.raises(StoreError, match="no file that could be replaced"):
        memory.backup(pipe)
    with pytest.raises(StoreError, match="a database in use"):
        memory.backup(link)
    memory.delete_all(user_id="ben")
    memory.add("one more", user_id="ana")
    assert len(memory.get_all(user_id="ana")) >= 301
