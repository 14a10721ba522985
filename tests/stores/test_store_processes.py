"""Several processes and threads on one file, and processes that are killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from filling import ANA, BEN, PATHS, found, open_store, turn, unit

from hymem.stores.sqlite import SQLiteStore

Opened = Callable[..., SQLiteStore]


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    code = f"import sys; sys.path[:0] = {PATHS!r}\n{script}"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


ADD_THE_SAME = """
from filling import ANA, BEN, open_store, turn
with open_store(sys.argv[1]) as store:
    for i in range(60):
        store.add_turns(ANA, [turn(f"equal {i}", source_id=f"m{i}")])
        store.add_turns(BEN, [turn(f"own {sys.argv[2]} {i}")])
"""


def test_processes_that_add_the_same_messages_add_them_once(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    running = [start(ADD_THE_SAME, path, name) for name in "ab"]
    for process in running:
        assert process.communicate()[1] == ""
    with open_store(path) as store:
        assert sorted(one.source_id or "" for one in store.list_turns(ANA)) == sorted(
            f"m{i}" for i in range(60)
        )
        assert len(found(store, ANA, "equal", limit=500)) == 60
        own = [one.text for one in store.list_turns(BEN)]
        assert len(own) == len(set(own)) == 120
        assert [one.position for one in store.list_turns(BEN)] == list(range(120))


def test_threads_add_search_and_lease_at_the_same_time(opened: Opened) -> None:
    store = opened()
    errors: list[BaseException] = []
    leased: list[int] = []

    def work(name: int) -> None:
        try:
            for i in range(25):
                ids = store.add_turns(ANA, [turn(f"thread {name} turn {i}", source_id=f"{i}")])
                store.add_turns(BEN, [turn(f"thread {name} turn {i}")])
                assert ids[0] in found(store, ANA, f"turn {i}", limit=500)
                store.add_events(ANA, [(ids, ids)])
                if lease := store.lease_events(None, 1, 60.0):
                    leased.append(lease.events[0].id)
                    store.complete_event(lease, lease.events[0].id, [unit("x y", ids)])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert store.status(ANA).turns == 25
    assert store.status(BEN).turns == 100
    assert len(leased) == len(set(leased)) == store.status(ANA).units == 25


def test_readers_do_not_wait_for_a_writer(opened: Opened) -> None:
    store = opened()
    ids = store.add_turns(ANA, [turn("a red cat")])
    found(store, ANA, "cat")
    with store._db.write() as connection:
        connection.execute("DELETE FROM items")
        results: list[object] = []
        thread = threading.Thread(
            target=lambda: results.append((found(store, ANA, "cat"), len(store.turns(ANA, ids))))
        )
        thread.start()
        thread.join(10)
        assert results == [(ids, 1)]
        connection.execute("ROLLBACK")
        connection.execute("BEGIN")


WRITE_UNTIL_KILLED = """
from filling import ANA, extract, open_store, turn, unit
with open_store(sys.argv[1]) as store:
    first = int(sys.argv[2])
    for i in range(first, first + 100_000):
        turns = [turn(f"turn {i} part {p}", source_id=f"{i}-{p}") for p in (0, 1)]
        ids = store.add_turns(ANA, turns)
        print(i, flush=True)
        store.add_events(ANA, [(ids, ids)])
        if lease := store.lease_events(ANA, 2, 0.0):
            for event in lease.events:
                store.complete_event(lease, event.id, [unit(f"unit of {event.turns}", event.turns)])
        store.candidates(ANA, None, f"turn {i}", 5)
"""


def unlike_keys(store: SQLiteStore) -> list[tuple[int]]:
    """Items that have vectors and no token ids, or the other way round."""
    without = "SELECT item FROM {} WHERE item NOT IN (SELECT item FROM {})"
    both = f"{without.format('vectors', 'tokens')} UNION {without.format('tokens', 'vectors')}"
    with store._db.read() as connection:
        return connection.execute(both).fetchall()


def kill_and_check(path: Path, rounds: int, seed: int) -> None:
    """After every kill: each acknowledged turn is there once, no event has its units twice."""
    pause = random.Random(seed)
    acknowledged: set[int] = set()
    for number in range(rounds):
        process = start(WRITE_UNTIL_KILLED, path, 1000 * number)
        assert process.stdout is not None
        acknowledged.add(int(process.stdout.readline()))
        time.sleep(pause.random() * 0.2)
        process.send_signal(signal.SIGKILL)
        acknowledged.update(
            int(line) for line in process.communicate()[0].splitlines(True) if line[-1] == "\n"
        )
        with open_store(path) as store:
            sources = [one.source_id or "" for one in store.list_turns(ANA)]
            assert len(sources) == len(set(sources))
            assert {f"{i}-{part}" for i in acknowledged for part in (0, 1)} <= set(sources)
            assert len(sources) % 2 == 0
            texts = [one.text for one in store.list_units(ANA)]
            assert len(texts) == len(set(texts))
            assert unlike_keys(store) == []
            waiting = [[one.id] for one in store.unsegmented(ANA, 9)]
            store.add_events(ANA, [(one, one) for one in waiting])
            while lease := store.lease_events(ANA, 9, 60.0):
                for event in lease.events:
                    store.complete_event(
                        lease, event.id, [unit(f"unit of {event.turns}", event.turns)]
                    )
            assert set(store.status(ANA).events) == {"done"}
            assert len(found(store, ANA, "unit", 10**6, kinds=("unit",))) == store.status(ANA).units


def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "chat.db", rounds=4, seed=0)


@pytest.mark.slow
def test_a_hundred_killed_writers_lose_nothing_they_acknowledged(tmp_path: Path) -> None:
    kill_and_check(tmp_path / "chat.db", rounds=100, seed=1)
