"""Bounded threads, and turns at the processor."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

import pytest
from test_worker import until

import hymem.system.pool
from hymem.system.pool import Pool
from hymem.system.turns import Turns, awaited, waiting
from hymem.write.retry import Patience


def threads(name: str) -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_as_many_threads_as_there_is_work_but_not_more_and_none_when_idle(monkeypatch):
    monkeypatch.setattr(hymem.system.pool, "IDLE_SECONDS", 0.2)
    pool, go = Pool(3, "bounded"), threading.Event()
    assert pool.submit(lambda: 1).result(5) == 1
    assert threads("bounded") == 1
    futures = [pool.submit(lambda n=n: (go.wait(5), n)[1]) for n in range(9)]
    assert until(lambda: threads("bounded") == 3)
    time.sleep(0.1)
    assert threads("bounded") == 3
    go.set()
    assert [future.result(5) for future in futures] == list(range(9))
    assert until(lambda: threads("bounded") == 0)
    assert pool.submit(lambda: 2).result(5) == 2


def test_work_is_begun_in_its_order_and_may_be_cancelled_before():
    pool, go, begun = Pool(1, "ordered"), threading.Event(), []
    first = pool.submit(go.wait)
    others = [pool.submit(lambda n=n: begun.append(n)) for n in range(5)]
    assert others[2].cancel()
    go.set()
    first.result(5)
    others[4].result(5)
    assert begun == [0, 1, 3, 4]


def test_errors_and_context_variables_cross_over():
    pool, colour = Pool(1, "crossing"), ContextVar("colour", default="none")
    colour.set("red")
    assert pool.submit(colour.get).result(5) == "red"
    with pytest.raises(ZeroDivisionError):
        pool.submit(lambda: 1 // 0).result(5)
    assert pool.submit(lambda: "still there").result(5) == "still there"


def test_an_error_among_many_is_raised_and_what_has_not_begun_is_left():
    pool, done = Pool(1, "each"), []

    def work(number: int) -> None:
        done.append(number)
        if number == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        pool.each(work, range(1000))
    assert 3 <= len(done) < 1000


def test_the_interpreters_exit_waits_for_no_thread():
    script = (
        "import threading; from hymem.system.pool import Pool; begun = threading.Event()\n"
        "Pool(1, 'stuck').submit(lambda: (begun.set(), threading.Event().wait()))\n"
        "begun.wait()"
    )
    assert subprocess.run([sys.executable, "-c", script], timeout=20).returncode == 0


def test_turns_are_given_up_while_waiting_and_never_more_than_there_are():
    pool, turns, at_work, most = Pool(8, "turns"), Turns(2), [0], [0]
    lock, everybody = threading.Lock(), threading.Barrier(8)

    def compute() -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        time.sleep(0.01)
        with lock:
            at_work[0] -= 1

    def request(_: int) -> None:
        with turns.taken():
            compute()
            with turns.taken(), waiting():  # one within the other is one
                everybody.wait(5)
            compute()

    pool.each(request, range(8))
    assert most[0] == 2


def test_without_a_turn_waiting_is_nothing():
    with waiting():
        pass
    assert list(awaited(iter("abc"))) == ["a", "b", "c"]


def test_items_are_awaited_without_the_turn():
    turns = Turns(1)

    def items() -> Iterator[bool]:
        yield Pool(1, "other").submit(take).result(5)

    def take() -> bool:
        with turns.taken():
            return True

    with turns.taken():
        assert list(awaited(items())) == [True]


def test_patience_counts_waits_at_once_but_once():
    patience = Patience(0.3)
    started = time.monotonic()
    Pool(4, "patient").each(
        lambda _: [None for _ in iter(lambda: patience.wait(0.05), False)], "1234"
    )
    assert 0.25 < time.monotonic() - started < 3
    assert not patience.wait(0.05)
