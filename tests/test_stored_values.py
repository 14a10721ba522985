"""A value in the file that HyMem did not write harms its scope at most, and is told as such."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from hymem import Filter, HyMem, HyMemError

ODD: list[Any] = [
    None,
    -1,
    2**40,
    2**63 - 1,
    float("inf"),
    "garbage",
    "[1, 2]",
    '{"a":' + "[" * 5000 + "]" * 5000 + "}",
    b"\xff\xfe\x00",
]
# What says whose data a row is, or what the database itself rests on, belongs to no one scope.
_SHARED = {"meta", "scopes", "costs", "owed"}
_KEYS = {"id", "scope", "item", "unit", "turn", "event_id"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database in which Ana's scope is to be damaged and Ben's is not."""
    path = tmp_path_factory.mktemp("stored") / "chat.db"
    with HyMem(path, llm=None, background=False) as memory:
        said = [
            {"role": "user", "content": "I moved to Lyon last week.", "id": "a"},
            {"role": "assistant", "content": "How nice, do you like it?"},
            {"role": "user", "content": "Yes. " + "It is a long story about a house. " * 60},
        ]
        memory.add(said, user_id="ana", metadata={"x": 1}, session_id="s", wait=True)
        memory.add("My boat is called Otter.", user_id="ben", wait=True)
        memory.add("I like tea.", user_id="ana")
        memory.update(1, "I moved to Rome last week.", user_id="ana")
    return path


def columns(path: Path) -> list[tuple[str, str, str]]:
    """(table, column, condition of Ana's rows) of all that belongs to a scope."""
    mine = "IN (SELECT id FROM items WHERE scope = 1)"
    found = []
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        ).fetchall()
        for (table,) in tables:
            names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            owner = next((n for n in ("scope", "item", "unit", "turn") if n in names), None)
            if table not in _SHARED and owner is not None:
                where = "scope = 1" if owner == "scope" else f"{owner} {mine}"
                found += [(table, name, where) for name in names if name not in _KEYS]
    return found


def calls(memory: HyMem, user: str, folder: Path) -> Iterator[Callable[[], object]]:
    """Every public call on one scope."""
    ids = {"user_id": user}
    yield lambda: memory.search("Lyon boat", **ids)
    yield lambda: memory.search("boat", **ids, where=Filter(session_id="s", metadata={"x": 1}))
    yield lambda: memory.search("Lyon boat", **ids, as_of=2e9)
    yield lambda: memory.recall("Where does Ana live?", **ids)
    yield lambda: memory.ask("Where does Ana live?", **ids)
    yield lambda: memory.get_all(**ids)
    yield lambda: memory.history(1, **ids)
    yield lambda: memory.status(**ids)
    yield lambda: memory.costs(**ids)
    yield lambda: memory.add("One more thing.", **ids, wait=True)
    yield lambda: memory.add({"role": "user", "content": "I moved.", "id": "a"}, **ids)
    yield lambda: memory.export(folder / "out.jsonl", **ids)
    yield lambda: memory.update(1, "I moved to Oslo.", **ids)
    yield lambda: memory.delete(2, **ids)
    yield lambda: memory.flush(**ids)
    yield lambda: memory.delete_all(**ids)


def damage(filled: Path, path: Path, where: tuple[str, str, str], value: Any) -> bool:
    """Whether the value could be written there."""
    for old in path.parent.glob(f"{path.name}*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    shutil.copy(filled, path)
    table, column, condition = where
    with closing(sqlite3.connect(path)) as connection, suppress(sqlite3.IntegrityError):
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE {condition}", (value,))
        connection.commit()
        return True
    return False


def check(path: Path, folder: Path) -> None:
    with HyMem(path, llm=None, background=False) as memory:
        with suppress(HyMemError):
            memory.flush(all_scopes=True)
        assert "Otter" in memory.search("boat", user_id="ben")[0].text
        memory.add("I like fog.", user_id="ben")
        with suppress(HyMemError):
            memory.flush(all_scopes=True)
        assert set(memory.status(user_id="ben").events) == {"done"}
        for call in calls(memory, "ana", folder):
            with suppress(HyMemError):
                call()
        for call in list(calls(memory, "ben", folder))[:9]:
            with suppress(KeyError):  # no memory 1 in this scope
                call()


def survive(filled: Path, folder: Path, cases: list[tuple[tuple[str, str, str], Any]]) -> None:
    for where, value in cases:
        if damage(filled, folder / "chat.db", where, value):
            try:
                check(folder / "chat.db", folder)
            except Exception as error:
                error.add_note(f"with {where[0]}.{where[1]} = {value!r:.60}")
                raise


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_damaged_scope_harms_no_other_and_raises_our_errors_only(
    filled: Path, tmp_path: Path
) -> None:
    cases = [(where, value) for where in columns(filled) for value in ODD]
    assert len(cases) > 300
    survive(filled, tmp_path, random.Random(5).sample(cases, 12))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", ODD, ids=lambda value: f"{value!r:.20}")
def test_any_damaged_column_harms_no_other_scope(filled: Path, tmp_path: Path, value: Any) -> None:
    survive(filled, tmp_path, [(where, value) for where in columns(filled)])
