"""Indexes saved beside the database, and growth to an inverted file."""

from __future__ import annotations

import dataclasses
import random
import shutil
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest
from filling import ANA, BEN, DIM, asked, encode, extract, found, open_store, turn, unit

from hymem.errors import StoreError
from hymem.stores.base import Candidates
from hymem.stores.index import loader, snapshot
from hymem.stores.sqlite import SQLiteStore
from hymem.types import Filter

Opened = Callable[..., SQLiteStore]
_WORDS = "red green blue cat dog bird bread wine sea sun Lyon Rome Oslo car bus tram"
WORDS = _WORDS.split()


def text_of(number: int) -> str:
    return " ".join(random.Random(number).sample(WORDS, 5)) + f" n{number}"


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hymem.stores.index.upkeep.SMALLEST", 100)
    monkeypatch.setattr("hymem.stores.index.lexical._TAIL", 64)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with everything that an index can hold, closed, with a snapshot."""
    with open_store(tmp_path / "chat.db") as store:
        ids = store.add_turns(
            ANA,
            [
                turn(text_of(i), f"s{i // 9}", keys=1 + i % 3, speaker=f"p{i % 4}")
                for i in range(300)
            ],
        )
        _, units = extract(store, ANA, ids[:9], [unit("cats in Rome", ids[:2])])
        extract(store, ANA, ids[9:18], [unit("dogs in Rome", ids[9:10], supersedes=tuple(units))])
        found(store, ANA, "cat")
        store.delete(ANA, ids[20])
        store.update_text(ANA, ids[30], "a zebra", "a zebra", 2, encode("a zebra")[None])
        found(store, ANA, "cat")
    assert (tmp_path / "chat.db.index" / "1.snapshot").stat().st_size > 10_000
    return tmp_path / "chat.db"


def answers(store: SQLiteStore) -> list[Candidates]:
    return [
        store.candidates(ANA, encode(query), query, 12, radius=1, tokens=asked(query))
        for query in ("red cat", "dogs in Rome", "zebra tram", "n77 n20", "bread")
    ]


def assert_same(got: list[Candidates], expected: list[Candidates]) -> None:
    for one, other in zip(got, expected, strict=True):
        for field in dataclasses.fields(Candidates):
            a, b = getattr(one, field.name), getattr(other, field.name)
            if field.name in ("dense", "lexical", "late", "late_window", "lexical_max"):
                np.testing.assert_allclose(a, b, atol=1e-3)
            elif isinstance(a, np.ndarray):
                np.testing.assert_array_equal(a, b, field.name)
            else:
                assert a == b or list(a) == list(b), field.name


def from_scratch(path: Path) -> list[Candidates]:
    """Answers of an index that is built from the database alone."""
    copy = path.with_name("copy.db")
    with open_store(path) as store:
        store.backup(str(copy))
    with open_store(copy) as store:
        return answers(store)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each following batch reads from the database."""
    sizes: list[int] = []
    build = loader._batch

    def counted(connection: sqlite3.Connection, rows: list[object], dim: int) -> object:
        sizes.append(len(rows))
        return build(connection, rows, dim)  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "_batch", counted)
    return sizes


def test_a_new_process_starts_from_the_snapshot(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = from_scratch(path)
    sizes = reads(monkeypatch)
    with open_store(path) as store:
        assert_same(answers(store), expected)
        assert sum(sizes) < 10


def test_a_snapshot_that_is_behind_catches_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_store(path) as store:
        shutil.copytree(f"{path}.index", f"{path}.old")
        ids = store.add_turns(
            ANA, [turn(text_of(i), keys=2, speaker="new") for i in range(300, 340)]
        )
        extract(store, ANA, ids[:5], [unit("red cats", ids[:1])])
        store.delete(ANA, store.list_turns(ANA)[40].id)
        first = store.list_turns(ANA)[0].id
        store.update_text(ANA, first, "tram", "tram", 1, encode("tram")[None])
    shutil.rmtree(f"{path}.index")
    Path(f"{path}.old").rename(f"{path}.index")
    expected = from_scratch(path)
    sizes = reads(monkeypatch)
    with open_store(path) as store:
        assert_same(answers(store), expected)
        assert 0 < sum(sizes) < 60


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text", "missing", "folder"])
def test_a_damaged_snapshot_is_as_good_as_none(path: Path, damage: str) -> None:
    expected = from_scratch(path)
    file = Path(f"{path}.index") / "1.snapshot"
    content = bytearray(file.read_bytes())
    if damage == "flip":
        for place in range(0, len(content), 97):
            content[place] ^= 0x10
    file.unlink()
    if damage == "folder":
        file.mkdir()
    elif damage != "missing":
        file.write_bytes(
            {"cut": content[:-9], "empty": b"", "text": b"x\n" * 9}.get(damage, content)
        )
    with open_store(path) as store:
        assert_same(answers(store), expected)


@pytest.mark.parametrize(
    "head",
    [
        "[" * 100_000,
        "{}",
        '{"numbers": [], "arrays": []}',
        '{"numbers": {}, "arrays": {"codes": ["O", [9], 0]}}',
        '{"numbers": {}, "arrays": {"codes": ["<f4", [1000000000000], 0]}}',
        '{"numbers": {}, "arrays": {"codes": ["nothing", ["x"], null]}}',
    ],
)
def test_a_snapshot_made_by_somebody_else_is_as_good_as_none(path: Path, head: str) -> None:
    expected = from_scratch(path)
    written = path.parent / "chat.db.index" / "1.snapshot"
    line = head.encode()
    written.write_bytes(b"%s %d\n%s\n" % (snapshot.FORMAT.encode(), zlib.crc32(line), line))
    with open_store(path) as store:
        assert_same(answers(store), expected)


@pytest.mark.parametrize("change", ["no number", "no array", "narrow keys", "lists of others"])
def test_a_whole_snapshot_of_other_parts_is_told_once(path: Path, change: str) -> None:
    expected = from_scratch(path)
    written = path.parent / "chat.db.index" / "1.snapshot"
    held = snapshot.read(written)
    assert held is not None
    numbers, arrays = held
    if change == "no number":
        del numbers["hidden"]
    elif change == "no array":
        del arrays["codes"]
    elif change == "narrow keys":  # of which FAISS would read beyond the end
        arrays["codes"] = arrays["codes"][:, :1].copy()
    else:
        arrays["lists"] = faiss.serialize_index(faiss.IndexFlatIP(7))
    snapshot.write(written, numbers, arrays)
    with open_store(path) as store:
        with pytest.raises(StoreError, match="will not be used; try again"):
            answers(store)
        assert_same(answers(store), expected)


@pytest.mark.parametrize("place", range(0, 1000, 83))
def test_no_single_flipped_byte_is_believed(path: Path, tmp_path: Path, place: int) -> None:
    content = bytearray((Path(f"{path}.index") / "1.snapshot").read_bytes())
    content[len(content) * place // 1000] ^= 1
    (tmp_path / "flipped").write_bytes(content)
    assert snapshot.read(tmp_path / "flipped") is None


def test_a_restored_backup_is_not_served_from_a_later_snapshot(path: Path) -> None:
    copy = path.with_name("earlier.db")
    shutil.copy(path, copy)
    with open_store(path) as store:
        store.add_turns(ANA, [turn(f"ghost {i}") for i in range(200)])
    shutil.move(copy, path)
    with open_store(path) as store:
        assert found(store, ANA, "ghost") == []
        (real,) = store.add_turns(ANA, [turn("real ghost")])
        assert found(store, ANA, "ghost") == [real]


@pytest.mark.parametrize("others", [0, 400])
def test_a_snapshot_a_few_turns_ahead_of_a_restored_backup_is_not_served(
    path: Path, others: int
) -> None:
    """Most of the last items are known to both, or their ids have gone to another scope."""
    copy = path.with_name("earlier.db")
    shutil.copy(path, copy)
    with open_store(path) as store:
        store.add_turns(ANA, [turn(f"ghost {i}") for i in range(7 if not others else 300)])
        found(store, ANA, "ghost")
    shutil.move(copy, path)
    with open_store(path) as store:
        store.add_turns(BEN, [turn("ben") for _ in range(others)])
        assert found(store, ANA, "ghost ben") == []


def test_an_index_full_of_removed_texts_is_built_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(path) as store:
        for one in store.list_turns(ANA)[:100]:
            store.delete(ANA, one.id)
        store.add_turns(ANA, [turn(text_of(i)) for i in range(300, 330)])
        found(store, ANA, "cat")
    sizes = reads(monkeypatch)
    with open_store(path) as store:
        found(store, ANA, "cat")
        assert sum(sizes) == store.status(ANA).turns + store.status(ANA).units
        assert store._indexes._held[ANA][1].passages.wasted == 0.0


def test_a_snapshot_holds_no_text(path: Path) -> None:
    for file in Path(f"{path}.index").iterdir():
        content = file.read_bytes()
        assert not any(word.encode() in content for word in ("zebra", "bread", "Lyon", "tram"))


def test_deleting_a_scope_removes_its_snapshot(path: Path) -> None:
    with open_store(path) as store:
        store.delete_all(ANA)
        assert list(Path(f"{path}.index").iterdir()) == []
    assert list(Path(f"{path}.index").iterdir()) == []


def test_an_unwritable_index_folder_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "chat.db.index").write_text("in the way")
    for _ in range(2):
        with open_store(tmp_path / "chat.db") as store:
            store.add_turns(ANA, [turn(text_of(i)) for i in range(300)])
            assert found(store, ANA, "cat", limit=3)


def test_a_large_scope_grows_an_inverted_file_that_finds_what_exact_search_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymem.stores.index.dense.EXACT_KEYS", 2000)
    monkeypatch.setattr("hymem.stores.index.dense.GROWTH", 2)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(40, DIM))
    vectors = centres[rng.integers(0, 40, 9000)] + rng.normal(size=(9000, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    with open_store(tmp_path / "chat.db") as store:
        ids = np.array(
            [
                item_id
                for start in range(0, 9000, 1500)
                for item_id in store.add_turns(
                    ANA,
                    [
                        turn(f"n{i}", vectors=vectors[i : i + 1], session=f"s{i % 10 // 9}")
                        for i in range(start, start + 1500)
                    ],
                )
            ]
        )
        store._indexes.upkeep.settle()
        assert store._indexes._held[ANA][1].passages.dense.built
        check_recall(store, ids, vectors)
        tenth = np.arange(9000) % 10 == 9
        check_recall(store, ids[tenth], vectors[tenth], where=Filter(session_id="s1"))
        monkeypatch.setattr("hymem.stores.index.dense.FEW_OF_LISTS", 0.5)
        check_recall(store, ids[tenth], vectors[tenth], where=Filter(session_id="s1"))
        gone = ids[:200].tolist()
        for item_id in gone[:20]:
            store.delete(ANA, item_id)
        check_recall(store, ids[20:], vectors[20:])
    with open_store(tmp_path / "chat.db") as store:
        check_recall(store, ids[20:], vectors[20:])
        assert store._indexes._held[ANA][1].passages.dense.built


def check_recall(
    store: SQLiteStore, ids: np.ndarray, vectors: np.ndarray, where: Filter | None = None
) -> None:
    hits, queries = 0, vectors[:: len(vectors) // 20] + np.float32(0.05)
    for query in queries:
        query /= np.linalg.norm(query)
        best = ids[np.argsort(-(vectors @ query))[:10]]
        got = store.candidates(ANA, query, "", 10, where=where)
        exact = dict(zip(ids.tolist(), (vectors @ query).tolist(), strict=True))
        np.testing.assert_allclose(got.dense, [exact[i] for i in got.ids.tolist()], atol=0.03)
        hits += len(set(best.tolist()) & set(got.ids.tolist()))
    assert hits >= 0.95 * 10 * len(queries)
