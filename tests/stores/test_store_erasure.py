"""What a deletion leaves behind: nothing, in no file, whatever happened to the scope before."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from filling import ANA, BEN, PATHS, encode, extract, found, open_store, turn, unit
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from hymem.errors import StoreError
from hymem.exports.records import parse
from hymem.stores.sqlite import SQLiteStore
from hymem.system.clock import Clock
from hymem.text import words as text
from hymem.types import Scope

Opened = Callable[..., SQLiteStore]
SCOPES = [Scope(f"user{number:02d}mark") for number in range(60)]
WORDS = ["lorem", "ipsum", "dolor", "sit", "amet", "consectetur"]

# What is written matters here, not that it lasts.
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Path(folder)


def marks_in(folder: Path, pattern: bytes) -> set[bytes]:
    """What matches in any file of the folder, or in any file's name."""
    found: set[bytes] = set()
    for path in folder.rglob("*"):
        found.update(re.findall(pattern, path.name.encode()))
        if path.is_file():
            found.update(re.findall(pattern, path.read_bytes()))
    return found


class Erasure(RuleBasedStateMachine):
    """Every text holds its scope's mark, and every turn one of its own, which what is made of the
    turn repeats. Whatever is written, a mark is gone from all files once it has been deleted."""

    @initialize(seed=st.integers(0, 1 << 30))
    def start(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.folder = Path(tempfile.mkdtemp(dir=IN_MEMORY))
        self.store = open_store(self.folder / "chat.db")
        self.turns: dict[int, Scope] = {}
        self.gone: set[bytes] = set()
        self.made = 0
        self.version = 1

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for scope in SCOPES[::2]:
                self.delete_all(scope)
            self.store.close()
            self.check()
            shutil.rmtree(self.folder)

    def check(self) -> None:
        assert marks_in(self.folder, rb"user\d\dmark|turn\d+mark") & self.gone == set()

    def told(self, mark: str, scope: Scope) -> str:
        words = self.chance.choices(WORDS, k=self.chance.choice([1, 4, 15, 60, 400]))
        return " ".join([mark, *(f"{word} {scope.user_id} {mark}" for word in words)])

    @rule(which=st.integers(0, 59), count=st.sampled_from([1, 1, 2, 5, 40]))
    def add(self, which: int, count: int) -> None:
        scope = SCOPES[which]
        name = scope.user_id or ""
        self.gone.discard(name.encode())
        turns = []
        for _ in range(count):
            self.made += 1
            mark = f"turn{self.made}mark"
            more = {"metadata": {name: mark}, "source_id": mark} if self.made % 3 else {}
            turns.append(turn(self.told(mark, scope), f"{name} {self.made // 9}", **more))
        ids = self.store.add_turns(scope, turns)
        self.turns.update(dict.fromkeys(ids, scope))

    def some_turn(self) -> tuple[Scope, int, str]:
        item_id = self.chance.choice(list(self.turns))
        (one,) = self.store.turns(self.turns[item_id], [item_id])
        return self.turns[item_id], item_id, one.text.split()[0]

    @precondition(lambda self: self.turns)
    @rule()
    def update(self) -> None:
        scope, item_id, mark = self.some_turn()
        text = self.told(mark, scope)
        self.store.update_text(scope, item_id, text, text, 9, encode(mark)[None])

    @precondition(lambda self: self.turns)
    @rule(fail=st.booleans())
    def segment_and_extract(self, fail: bool) -> None:
        scope = self.some_turn()[0]
        waiting = [one.id for one in self.store.unsegmented(scope, 30)]
        parts = [waiting[start : start + 4] for start in range(0, len(waiting), 4)]
        self.store.add_events(scope, [(part, part) for part in parts])
        while lease := self.store.lease_events(scope, 8, 60.0):
            texts = {one.id: one.text for one in self.store.list_turns(scope)}
            for event in lease.events:
                quoted = [texts[one] for one in event.turns]
                if fail:
                    self.store.fail_event(lease, event.id, f"cannot be read: {' '.join(quoted)}")
                    continue
                fact = f"{scope.user_id}/fact"
                units = [
                    unit(text[:300], [one], fact=fact, supersedes=self.older(scope, fact))
                    for one, text in zip(event.turns, quoted, strict=True)
                ]
                self.store.complete_event(lease, event.id, units)

    def older(self, scope: Scope, fact: str) -> tuple[int, ...]:
        return tuple(one.id for one in self.store.current_facts(scope, [fact]).get(fact, [])[:1])

    @rule(which=st.integers(0, 59))
    def retry(self, which: int) -> None:
        events = self.store.events(SCOPES[which])
        self.store.retry_failed(SCOPES[which], [event.id for event in events])

    @precondition(lambda self: self.turns)
    @rule()
    def delete_a_turn(self) -> None:
        scope, item_id, mark = self.some_turn()
        self.store.delete(scope, item_id)
        del self.turns[item_id]
        if not any(one.text.startswith(f"{mark} ") for one in self.store.list_turns(scope)):
            self.gone.add(mark.encode())
        self.check()

    @rule(which=st.integers(0, 59))
    def delete_a_scope(self, which: int) -> None:
        self.delete_all(SCOPES[which])
        self.check()

    def delete_all(self, scope: Scope) -> None:
        gone = [item_id for item_id, holder in self.turns.items() if holder == scope]
        texts = {one.text.split()[0].encode() for one in self.store.list_turns(scope)}
        assert self.store.delete_all(scope) >= len(gone)
        self.gone |= texts | {(scope.user_id or "").encode()}
        for item_id in gone:
            del self.turns[item_id]

    @precondition(lambda self: self.turns)
    @rule()
    def search(self) -> None:
        found(self.store, self.some_turn()[0], "lorem")

    @precondition(lambda self: self.turns)
    @rule(which=st.integers(0, 59))
    def import_into_another_scope(self, which: int) -> None:
        old, new = self.some_turn()[0].user_id or "", SCOPES[which].user_id or ""
        self.gone.discard(new.encode())
        exported = json.dumps(list(self.store.dump(Scope(old)))).replace(old, new)
        self.made += 1000
        exported = re.sub(r"turn(\d+)mark", lambda mark: f"turn{self.made}{mark[1]}mark", exported)
        self.store.load(parse(enumerate(json.loads(exported)), Clock("UTC")))
        self.turns.update({one.id: Scope(new) for one in self.store.list_turns(Scope(new))})

    @rule()
    def back_up(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.store.backup(f"{folder}/copy.db")
            assert marks_in(Path(folder), rb"user\d\dmark|turn\d+mark") & self.gone == set()

    @rule(finish=st.booleans())
    def reembed(self, finish: bool) -> None:
        self.version += 1
        with open_store(
            self.folder / "chat.db", encoder_version=str(self.version), reembed=True
        ) as store:
            while items := store.to_reembed(50):
                store.put_reembedded([(item.id, encode("x")[None], None) for _, item in items])
                if not finish:
                    self.version -= 1
                    return
            assert store.finish_reembed()
        self.reopen()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.check()
        self.store = open_store(self.folder / "chat.db", encoder_version=str(self.version))


TestErasure = Erasure.TestCase
TestErasure.settings = settings(
    max_examples=12, stateful_step_count=40, deadline=None, report_multiple_bugs=False
)


def fill(store: SQLiteStore, seed: int, scopes: int = 60, times: int = 300) -> None:
    """Scopes that grow beside one another, so that their rows share pages and are moved about."""
    chance = random.Random(seed)
    for number in range(times):
        which = chance.randrange(scopes)
        size = chance.choice([3, 10, 40, 400])
        texts = [
            " ".join(f"{chance.choice(WORDS)} user{which:02d}mark" for _ in range(size))
            for _ in range(chance.choice([1, 2, 5]))
        ]
        scope = SCOPES[which]
        ids = store.add_turns(
            scope, [turn(text, f"user{which:02d}mark {number // 50}") for text in texts]
        )
        if number % 3:
            units = [unit(text[:200], [one]) for one, text in zip(ids, texts, strict=True)]
            extract(store, scope, ids, units)


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 60))]
)
def test_no_byte_of_deleted_scopes_is_left_beside_those_that_stay(
    tmp_path: Path, seed: int
) -> None:
    with open_store(tmp_path / "chat.db") as store:
        fill(store, seed)
        for scope in SCOPES[1::2]:
            store.delete_all(scope)
        left = {int(mark) for mark in marks_in(tmp_path, rb"user(\d\d)mark")}
        assert left == set(range(0, 60, 2)) & left != set()
        kept = {one.text for scope in SCOPES for one in store.list_turns(scope)}
    left = {int(mark) for mark in marks_in(tmp_path, rb"user(\d\d)mark")}
    assert all(number % 2 == 0 for number in left)
    with open_store(tmp_path / "chat.db") as store:
        assert {one.text for scope in SCOPES for one in store.list_turns(scope)} == kept
    check_whole(tmp_path / "chat.db")


def check_whole(path: Path) -> None:
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def is_owed(path: Path) -> bool:
    connection = sqlite3.connect(path)
    row = connection.execute("SELECT 1 FROM meta WHERE key = 'owed'").fetchone()
    connection.close()
    return row is not None


def is_left(folder: Path, mark: str = "secretmark") -> bool:
    return bool(marks_in(folder, mark.encode()))


@pytest.fixture
def reader(tmp_path: Path) -> sqlite3.Connection:
    """Someone who reads the state that still holds the mark, such as another program's backup."""
    with open_store(tmp_path / "chat.db") as store:
        store.add_turns(BEN, [turn("kept")])
        store.add_turns(ANA, [turn("a secretmark")])
        other = sqlite3.connect(tmp_path / "chat.db", isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM items").fetchone()
        store.add_turns(BEN, [turn("later")])
        return other


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hymem.stores.sqlite.WAIT_SECONDS", 0.1)


def test_the_second_call_that_the_error_asks_for_ends_it(
    opened: Opened, reader: sqlite3.Connection, tmp_path: Path, quick: None
) -> None:
    store = opened()
    with pytest.raises(StoreError, match="call delete_all again"):
        store.delete_all(ANA)
    assert store.scopes() == [BEN]
    assert is_left(tmp_path)
    reader.close()
    assert store.delete_all(ANA) == 0
    assert not is_left(tmp_path)


@pytest.mark.parametrize("how", ["delete", "delete_all"])
def test_without_a_second_call_it_is_done_behind_once_the_reader_has_ended(
    opened: Opened, reader: sqlite3.Connection, tmp_path: Path, quick: None, how: str
) -> None:
    store = opened()
    if how == "delete":
        store.delete(ANA, store.list_turns(ANA)[0].id)
    else:
        with pytest.raises(StoreError):
            store.delete_all(ANA)
    assert is_left(tmp_path)
    store.add_turns(BEN, [turn("writers do not wait")])
    reader.close()
    wait_until(lambda: not is_left(tmp_path))
    assert [one.text for one in store.list_turns(BEN)][-1] == "writers do not wait"


def wait_until(done: Callable[[], bool]) -> None:
    for _ in range(400):
        if done():
            return
        time.sleep(0.05)
    raise AssertionError("it was never done")


def test_whoever_opens_the_file_does_what_a_closed_process_owed(
    opened: Opened, reader: sqlite3.Connection, tmp_path: Path, quick: None
) -> None:
    store = opened()
    with pytest.raises(StoreError):
        store.delete_all(ANA)
    store.close()
    assert is_left(tmp_path)
    reader.close()
    assert is_owed(tmp_path / "chat.db")
    opened()
    wait_until(lambda: not is_owed(tmp_path / "chat.db"))
    assert not is_left(tmp_path)


def test_whoever_closes_the_file_does_what_is_owed(
    opened: Opened, reader: sqlite3.Connection, tmp_path: Path, quick: None
) -> None:
    store = opened()
    with pytest.raises(StoreError):
        store.delete_all(ANA)
    reader.close()
    store.close()
    assert not is_left(tmp_path)


KILLED_AT = """
import os, signal
import hymem.stores.{module} as module
from filling import ANA, open_store
import sys
setattr(module, {name!r}, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
with open_store(sys.argv[1]) as store:
    store.delete_all(ANA)
"""


@pytest.mark.parametrize(
    ("module", "name"),
    [("index.upkeep", "wipe"), ("erase", "_wipe_piece"), ("sweep", "dirty_gaps")],
)
def test_a_killed_deletion_is_finished_by_whoever_opens_the_file(
    opened: Opened, tmp_path: Path, module: str, name: str
) -> None:
    with open_store(tmp_path / "chat.db") as store:
        fill(store, 2, scopes=2, times=40)
        store.add_turns(ANA, [turn("a secretmark") for _ in range(50)])
        fill(store, 3, scopes=2, times=40)
        expected = [one.text for one in store.list_turns(SCOPES[0])]
    code = f"import sys; sys.path[:0] = {PATHS!r}\n" + KILLED_AT.format(module=module, name=name)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "chat.db")])
    assert done.returncode == -signal.SIGKILL
    store = opened()
    wait_until(lambda: not is_left(tmp_path))
    assert ANA not in store.scopes()
    assert [one.text for one in store.list_turns(SCOPES[0])] == expected
    check_whole(tmp_path / "chat.db")


def test_cached_pages_of_others_do_not_bring_it_back(opened: Opened, tmp_path: Path) -> None:
    """What other connections know of the file is older than the sweep."""
    stores = [opened() for _ in range(3)]
    fill(stores[0], 7)
    for store in stores:
        for scope in SCOPES:
            store.list_turns(scope)
    for scope in SCOPES[1::2]:
        stores[0].delete_all(scope)
    for number, store in enumerate(stores * 3):
        for scope in SCOPES[::2]:
            store.add_turns(scope, [turn(f"again {number}")])
            assert store.list_turns(scope)
    for store in stores:
        store.close()
    left = {int(mark) for mark in marks_in(tmp_path, rb"user(\d\d)mark")}
    assert left == set(range(0, 60, 2)) & left != set()
    check_whole(tmp_path / "chat.db")


def test_a_large_file_is_swept_behind_the_deletion_of_one_memory(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymem.stores.sqlite.WIPE_AT_ONCE", 1000)
    monkeypatch.setattr("hymem.stores.erase._PIECE", 1 << 16)
    monkeypatch.setattr("hymem.stores.erase._TURN_SECONDS", 0.001)
    store = opened()
    fill(store, 5, scopes=4, times=80)
    ids = store.add_turns(ANA, [turn(f"a secretmark {number}") for number in range(40)])
    for item_id in ids:
        store.delete(ANA, item_id)
    wait_until(lambda: not is_left(tmp_path))
    wait_until(lambda: not is_owed(tmp_path / "chat.db"))


def test_a_file_that_cannot_be_swept_is_rewritten(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymem.stores.sweep._MOST_PAGES", 1)
    store = opened()
    fill(store, 7)
    for scope in SCOPES[1::2]:
        store.delete_all(scope)
    left = {int(mark) for mark in marks_in(tmp_path, rb"user(\d\d)mark")}
    assert all(number % 2 == 0 for number in left)
    assert not store.delete_all(ANA)


def test_writers_go_on_during_a_sweep(
    opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymem.stores.erase._PIECE", 1 << 16)
    monkeypatch.setattr("hymem.stores.erase._TURN_SECONDS", 0.001)
    store, other = opened(), opened()
    fill(store, 11)
    errors: list[BaseException] = []
    stop = threading.Event()

    def write() -> None:
        number = 0
        try:
            while not stop.is_set():
                number += 1
                other.add_turns(BEN, [turn(f"row {number}")])
                assert found(other, BEN, f"{number}", limit=3)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    for scope in SCOPES[1:20:2]:
        store.delete_all(scope)
    stop.set()
    thread.join()
    assert errors == []
    left = {int(mark) for mark in marks_in(tmp_path, rb"user(\d\d)mark")}
    assert not left & set(range(1, 20, 2))
    check_whole(tmp_path / "chat.db")


def test_an_error_that_quotes_a_deleted_turn_goes_with_it(store: SQLiteStore) -> None:
    ids = store.add_turns(ANA, [turn("a secretmark"), turn("another")])
    store.add_events(ANA, [(ids[:1], ids[:1]), (ids[1:], ids[1:])])
    lease = store.lease_events(ANA, 2, 60.0)
    assert lease is not None
    for event in lease.events:  # an encoder's error stands for the whole lease
        store.fail_event(lease, event.id, "cannot encode 'a secretmark'")
    store.delete(ANA, ids[0])
    assert [(one.status, one.error) for one in store.events(ANA)] == [
        ("failed", "the error's text went with a deleted memory")
    ]


def test_the_last_turn_of_a_session_and_a_speaker_takes_their_names_along(
    opened: Opened, tmp_path: Path
) -> None:
    with opened() as store:
        stays = store.add_turns(ANA, [turn("alpha", speaker="Ben", session_id="s1")])
        gone = [
            turn("one", speaker="secretmark", session_id="s1"),
            turn("two", speaker="Ben", session_id="secretmark"),
        ]
        ids = store.add_turns(ANA, gone)
        assert found(store, ANA, "alpha") == stays
        for item_id in ids:
            store.delete(ANA, item_id)
        assert found(store, ANA, "alpha") == stays
        assert store.turns(ANA, stays)[0].speaker == "Ben"
        (again,) = store.add_turns(ANA, [turn("alpha again", speaker="Zoe", session_id="s2")])
        assert sorted(found(store, ANA, "alpha")) == [*stays, again]
        assert store.turns(ANA, [again])[0].speaker == "Zoe"
        assert store.status(ANA).sessions == 2
        wait_until(lambda: not is_owed(tmp_path / "chat.db"))
    assert not is_left(tmp_path)


def test_the_words_of_deleted_texts_leave_the_process(opened: Opened) -> None:
    """They are gone from every process's cache of stems that has seen them in its index."""
    for forget in ("delete", "delete_all", "other process"):
        one, other = opened(), opened()
        (item_id,) = one.add_turns(ANA, [turn("a secretmark")])
        assert found(one, ANA, "secretmark") == [item_id]
        assert found(other, ANA, "secretmark") == [item_id]
        assert text._stem.cache_info().currsize
        if forget == "delete":
            one.delete(ANA, item_id)
        elif forget == "delete_all":
            one.delete_all(ANA)
        else:
            with open_store(one._db.path) as third:
                third.delete_all(ANA)
            text._stem("secretmark")
            assert found(other, ANA, "") == []
        assert text._stem.cache_info().currsize == 0


def test_a_deleted_scope_is_not_named_again_by_an_extraction_under_way(
    store: SQLiteStore,
) -> None:
    store.add_turns(ANA, [turn("x")])
    store.delete_all(ANA)
    store.add_costs([{"scope": ANA, "stage": "extract", "input_tokens": 7}])
    assert store.scopes() == []
    assert [row["scope"] for row in store.costs(None)] == [None]


def test_compacting_gives_room_back_and_changes_nothing_else(
    opened: Opened, tmp_path: Path
) -> None:
    store, other = opened(), opened()
    fill(store, 13)
    for scope in SCOPES[:50]:
        store.delete_all(scope)
    kept = [(one.id, one.text) for scope in SCOPES for one in other.list_turns(scope)]
    hits = found(store, SCOPES[55], "lorem")
    path = tmp_path / "chat.db"
    before = path.stat().st_size
    freed = store.compact()
    assert freed > before / 2
    assert path.stat().st_size == before - freed
    assert store.compact() == 0
    assert [(one.id, one.text) for scope in SCOPES for one in other.list_turns(scope)] == kept
    assert found(other, SCOPES[55], "lorem") == hits
    new = store.add_turns(ANA, [turn("after it")])
    assert new > [max(item_id for item_id, _ in kept)]
    check_whole(path)


def test_a_memory_without_a_file_has_nothing_to_give_back() -> None:
    with open_store(":memory:") as store:
        assert store.compact() == 0


def test_compacting_waits_for_no_reader(opened: Opened, reader: sqlite3.Connection) -> None:
    store = opened()
    store.add_turns(SCOPES[0], [turn("x" * 1000) for _ in range(500)])
    with store._db.write() as connection:
        connection.execute("DELETE FROM items WHERE length(text) = 1000")
    assert store.compact() > 100_000
    assert reader.execute("SELECT count(*) FROM items").fetchone() == (2,)
