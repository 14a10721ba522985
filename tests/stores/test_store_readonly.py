"""A file, a folder or a disk that cannot be written: the memory is read, and says so."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hymem import HyMem, StoreError
from hymem.stores.schema import VERSION

PROGRAM = Path(__file__).parents[1] / "programs" / "reading.py"
WHO = {"user_id": "ana"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that any user can enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)
        for path in Path(name).rglob("*"):
            path.chmod(0o755)


def make(path: Path) -> None:
    with HyMem(path, llm=None, background=False) as memory:
        memory.add("I paint boats in Lyon.", **WHO)
        memory.flush(**WHO)


def left_in_use(folder: Path) -> None:
    """``chat.db`` and its log as a process that was killed leaves them."""
    make(folder / "other.db")
    with HyMem(folder / "other.db", llm=None, background=False) as memory:
        memory.add("My boats are blue.", **WHO)
        for ending in ("", "-wal", "-shm"):
            shutil.copy(f"{folder}/other.db{ending}", f"{folder}/chat.db{ending}")
    (folder / "other.db").unlink()
    assert (folder / "chat.db-wal").stat().st_size


def read_in(folder: Path, file_mode: int, folder_mode: int) -> dict[str, Any]:
    """What a user finds who may read alone; the files stay as they are."""
    base = folder / "base"
    before = {path.name: path.read_bytes() for path in base.iterdir() if "-shm" not in path.name}
    for path in base.iterdir():
        path.chmod(file_mode)
    base.chmod(folder_mode)
    (folder / "own").mkdir()
    command = [sys.executable, str(PROGRAM), str(base / "chat.db"), str(folder / "own")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    base.chmod(0o755)
    assert {n: (base / n).read_bytes() for n in before} == before
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("log", ["no log", "a log"])
@pytest.mark.parametrize(
    ("file_mode", "folder_mode"),
    [(0o444, 0o777), (0o444, 0o555), (0o644, 0o555)],
    ids=["file", "both", "folder"],
)
def test_what_cannot_be_written_can_be_read(
    folder: Path, file_mode: int, folder_mode: int, log: str
) -> None:
    (folder / "base").mkdir()
    if log == "a log":
        left_in_use(folder / "base")
    else:
        make(folder / "base" / "chat.db")
    if os.geteuid() != 0 and file_mode == 0o644 and log == "a log":
        pytest.skip("its owner may write a log that is there")
    found = read_in(folder, file_mode, folder_mode)
    reads = found["reads"]
    texts = ["I paint boats in Lyon.", *(["My boats are blue."] if log == "a log" else [])]
    assert set(texts) <= set(reads["list"])
    assert "boats" in reads["search"]
    assert "Lyon" in reads["recall"]
    assert "boats" in reads["ask"]
    assert reads["history"] == ["add"]
    assert reads["status"] == len(texts)
    assert reads["costs"] == []
    assert reads["users"] == ["ana"]
    assert reads["export"] >= len(texts)
    assert reads["backup"] is None
    for name, told in found["writes"].items():
        assert told.startswith("StoreError: "), (name, told)
        assert "read-only" in told
    assert len(found["log"]) == 1
    assert "opened for reading alone" in found["log"][0]
    assert len(found["copy"]) == 1  # a backup of it can be written
    assert not (folder / "base" / "chat.db.index").exists()


def make_disk_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all that is opened from now on."""
    monkeypatch.setattr("hymem.stores.readonly._writable", lambda path: False)


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HyMem]:
    """Of a database that others may write."""
    make(tmp_path / "chat.db")
    with monkeypatch.context() as patched:
        make_disk_read_only(patched)
        memory = HyMem(tmp_path / "chat.db", llm=None)
    with memory:
        yield memory


def test_a_reader_sees_what_others_write(reader: HyMem, tmp_path: Path) -> None:
    with HyMem(tmp_path / "chat.db", llm=None) as writer:
        for number in range(3):
            writer.add(f"Boat {number} is blue.", wait=True, **WHO)
            assert reader.search(f"boat {number}", **WHO)[0].text == f"Boat {number} is blue."
        writer.delete_all(**WHO)
        assert reader.get_all(**WHO) == []
        writer.add("I sail.", **WHO)
    assert [one.text for one in reader.get_all(**WHO)] == ["I sail."]
    with HyMem(tmp_path / "chat.db", llm=None) as writer:
        writer.add("I row.", **WHO)
    assert "I row." in [one.text for one in reader.get_all(**WHO)]


def test_nothing_of_ours_works_on_it_behind(reader: HyMem, tmp_path: Path) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    reader.search("boats", **WHO)
    assert reader._worker is None
    reader.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == before == ["chat.db"]


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        (f"PRAGMA user_version = {VERSION - 1}", "older HyMem.*read-only.*copy it"),
        (f"PRAGMA user_version = {VERSION + 1}", "newer HyMem"),
        ("CREATE VIEW v AS SELECT 1", "changed by another program"),
        ("UPDATE meta SET value = 'other 1 64' WHERE key = 'encoder'", "come from the encoder"),
    ],
)
def test_what_cannot_be_read_as_it_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str, told: str
) -> None:
    path = tmp_path / "chat.db"
    make(path)
    with sqlite3.connect(path) as connection:
        connection.execute(sql)
    connection.close()
    make_disk_read_only(monkeypatch)
    with pytest.raises(StoreError, match=told):
        HyMem(path, llm=None)


def test_an_empty_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "chat.db").touch()
    make_disk_read_only(monkeypatch)
    with pytest.raises(StoreError, match="nothing in it"):
        HyMem(tmp_path / "chat.db", llm=None)


def test_a_log_that_cannot_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left_in_use(tmp_path)
    (tmp_path / "chat.db-shm").unlink()
    make_disk_read_only(monkeypatch)
    with pytest.raises(StoreError, match=r"holds the latest changes.*copy both"):
        HyMem(tmp_path / "chat.db", llm=None)


def test_a_sweep_that_is_owed_waits_for_who_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "chat.db")
    with sqlite3.connect(tmp_path / "chat.db") as connection:
        connection.execute("INSERT INTO meta VALUES ('owed', '0')")
    connection.close()
    make_disk_read_only(monkeypatch)
    with HyMem(tmp_path / "chat.db", llm=None) as memory:
        assert memory._store._indexes._kept_up is None  # type: ignore[attr-defined]
        assert memory.search("boats", **WHO)


def test_a_link_in_a_folder_that_cannot_be_written_leads_to_a_file_that_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("links", "files"):
        (tmp_path / name).mkdir()
    make(tmp_path / "files" / "chat.db")
    (tmp_path / "links" / "chat.db").symlink_to(tmp_path / "files" / "chat.db")
    monkeypatch.setattr("hymem.stores.readonly._writable", lambda path: "links" not in path)
    with HyMem(tmp_path / "links" / "chat.db", llm=None) as memory:
        assert memory.add("I sail.", **WHO)
        assert memory._store._db.log_bytes() > 0  # type: ignore[attr-defined]
