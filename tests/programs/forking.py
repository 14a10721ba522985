"""Forks a process that has a memory open, as a program of its own: pytest has threads, and a child
that hangs must not take the tests along.

    python forking.py busy|idle|preload|closed|many|tasks|odd FORKS FOLDER

Prints what went wrong, and exits with 1 then.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from closing import Slowly

import hymem.system.forks
import hymem.write.worker
from hymem import AsyncHyMem, Filter, HyMem, StoreError, Turn

hymem.write.worker.IDLE_SECONDS = 0.2
PATIENCE = 90.0
AT_ONCE = 4


def fork(child: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        child()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def wait(pids: list[int]) -> None:
    """Until all have ended well. One that hangs is killed."""
    end = time.monotonic() + PATIENCE
    wrong = []
    for pid in pids:
        while not (ended := os.waitpid(pid, os.WNOHANG))[0] and time.monotonic() < end:
            time.sleep(0.01)
        if not ended[0]:
            os.kill(pid, signal.SIGKILL)
            wrong.append(f"{pid} hangs")
            os.waitpid(pid, 0)
        elif ended[1]:
            wrong.append(f"{pid} ended with {ended[1]}")
    assert not wrong, wrong


def use(memory: HyMem, user: str, kept: Path, close: bool = True) -> None:
    """What a worker of a server does with the memory that it was forked with."""
    for number in range(3):
        text = f"{user} bought kettle {number} in Lyon."
        memory.add(text, user_id=user, session_id=str(number))
        note(kept, text)
        assert text in [hit.text for hit in memory.search(text, user_id=user)]
    assert memory.recall("Which kettle?", user_id=user)
    assert memory.get_all(user_id="parent", limit=50)
    until(lambda: memory.status(user_id=user).units > 0, "nothing was extracted in the child")
    if close:
        memory.close()


def until(true: Callable[[], bool], otherwise: str) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, otherwise
        time.sleep(0.02)


def note(kept: Path, text: str) -> None:
    """The memory has acknowledged ``text``."""
    handle = os.open(kept, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, f"{text}\n".encode())
    os.close(handle)


@contextmanager
def at_work(memory: HyMem, kept: Path) -> Iterator[None]:
    """Threads of the parent write, read and extract."""
    done = threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            text = f"The parent saw ship {number} in the harbour."
            memory.add(text, user_id="parent", session_id=str(number // 5))
            note(kept, text)
            number += 1
            time.sleep(0.01)

    def read() -> None:
        while not done.is_set():
            memory.search("ship in the harbour", user_id="parent")
            memory.get_all(user_id="parent", limit=50)
            time.sleep(0.005)

    threads = [threading.Thread(target=one) for one in (write, read, read)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()


def forked(memory: HyMem, forks: int, kept: Path) -> None:
    pids: list[int] = []
    for number in range(forks):
        user = f"child{number}"
        pids.append(fork(lambda user=user: use(memory, user, kept, close=user[-1] != "1")))
        time.sleep(0.01)
        if len(pids) == AT_ONCE:
            wait(pids)
            pids = []
    wait(pids)


def busy(forks: int, folder: Path, kept: Path) -> None:
    """Children of a parent whose threads work."""
    with HyMem(folder / "m.db", llm=None) as memory:
        memory.add("The parent said hello.", user_id="parent")
        with at_work(memory, kept):
            forked(memory, forks, kept)
        memory.add("The parent goes on.", user_id="parent", wait=True)


def idle(forks: int, folder: Path, kept: Path) -> None:
    """Children of a parent that rests."""
    with HyMem(folder / "m.db", llm=None) as memory:
        memory.add("The parent said hello.", user_id="parent", session_id="1")
        memory.add("The parent said hello again.", user_id="parent", session_id="2")
        memory.search("hello", user_id="parent")
        time.sleep(0.5)
        forked(memory, forks, kept)
        memory.add("The parent goes on.", user_id="parent", wait=True)


def preload(forks: int, folder: Path, kept: Path) -> None:
    """A server's master closes its memory, or opens and closes another on the file, while the
    workers that it has forked go on."""
    memory = HyMem(folder / "m.db", llm=None)
    memory.add("The parent said hello.", user_id="parent")
    memory.search("hello", user_id="parent")
    go_on, ready = folder / "go on", folder / "ready"

    def worker(user: str) -> None:
        memory.add(f"{user} begins.", user_id=user)
        note(kept, f"{user} begins.")
        note(ready, user)
        until(go_on.exists, "the master never went on")
        use(memory, user, kept)

    pids = [fork(lambda user=f"child{n}": worker(user)) for n in range(forks)]
    until(lambda: ready.exists() and len(ready.read_text().split()) == forks, "workers hang")
    memory.close()
    HyMem(folder / "m.db", llm=None).close()
    go_on.touch()
    wait(pids)


def closed(forks: int, folder: Path, kept: Path) -> None:
    """Children of a parent that has closed some of its memories and still holds them, and of one
    where something that is told of forks fails at it."""

    class Failing:
        def before_fork(self) -> None:
            raise KeyError("before")

        def after_fork(self, calm: bool) -> None:
            raise KeyError("after")

    held = [HyMem(folder / f"closed{n}.db", llm=None) for n in range(3)]
    failing = [Failing() for _ in range(3)]
    for one in failing:
        hymem.system.forks.watch_connections(one)
    with HyMem(folder / "m.db", llm=None) as memory:
        memory.add("The parent said hello.", user_id="parent", wait=True)
        for one in held:
            one.add("The parent said hello.", user_id="parent")
            one.close()
            assert one._store._db not in hymem.system.forks._watched
        forked(memory, forks, kept)
        held[0]._store._db.after_fork(calm=True)  # a fork that came while it was being closed


def many(forks: int, folder: Path, kept: Path) -> None:
    """Forks of forks, from several threads of the parent at once."""
    with HyMem(folder / "m.db", llm=None) as memory:
        memory.add("The parent said hello.", user_id="parent")

        def child(name: str) -> None:
            memory.add(f"{name} begins.", user_id=name)
            note(kept, f"{name} begins.")
            wait([fork(lambda: use(memory, f"{name}'s child", kept))])
            use(memory, name, kept)

        pids: list[int] = []
        threads = [
            threading.Thread(target=lambda n=n: pids.append(fork(lambda: child(f"child{n}"))))
            for n in range(forks)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait(pids)


def tasks(forks: int, folder: Path, kept: Path) -> None:
    """An application that opens its memory where it is loaded, and runs a loop in each worker. The
    parent has used it in a loop of its own, and a call is still waiting for its model."""
    memory, answered = AsyncHyMem(folder / "m.db", llm=Slowly()), threading.Event()

    async def before() -> None:
        await memory.add("The parent said hello.", user_id="parent")
        await memory.chat("Hello!", user_id="chat")

    async def child(user: str) -> None:
        texts = [f"{user} bought kettle {number} in Lyon." for number in range(10)]
        await asyncio.gather(*(memory.add(text, user_id=user) for text in texts))
        for text in texts:
            note(kept, text)
        assert len(await memory.get_all(user_id=user, where=Filter(kind="turn"))) == 10
        assert (await memory.chat("Hello!", user_id=user)).text
        assert [piece async for piece in memory.chat_stream("Hello again!", user_id=user)]
        await memory.flush(user_id=user)
        await memory.close()

    asyncio.run(before())
    memory._pools["model"].submit(answered.wait)
    pids = [fork(lambda user=f"child{n}": asyncio.run(child(user))) for n in range(forks)]
    wait(pids)
    answered.set()
    asyncio.run(memory.close())


def odd(forks: int, folder: Path, kept: Path) -> None:
    """Moments at which a fork is no good."""
    in_memory()
    with HyMem(folder / "m.db", llm=Slowly()) as memory:
        said = [{"role": "user", "content": text} for text in ("one", "two", "three")]
        memory.add(said, user_id="parent")
        note(kept, "one")
        while_reading(memory)
        while_another_reads(memory)
        while_a_reply_comes(memory)


def in_memory() -> None:
    """Each goes on with a copy of its own."""
    with HyMem(":memory:", llm=None) as memory:
        memory.add("The parent said hello.", user_id="parent")

        def child() -> None:
            memory.add("The child is here.", user_id="parent", wait=True)
            assert memory.status(user_id="parent").turns == 2

        wait([fork(child)])
        assert memory.status(user_id="parent").turns == 1


def while_reading(memory: HyMem) -> None:
    """The thread that forks has a view of the database."""
    records = memory._store.dump()
    for _ in range(2):
        next(records)

    def child() -> None:
        refused(memory)
        records.close()
        memory.close()

    wait([fork(child)])
    assert [one["text"] for one in records if one["record"] == "turn"] == ["two", "three"]


def while_another_reads(memory: HyMem) -> None:
    """Another thread has one, and does not end in time."""
    hymem.system.forks.CALM_SECONDS = 0.2
    begun, done = threading.Event(), threading.Event()

    def read() -> None:
        with memory._store._db.read():
            begun.set()
            done.wait()

    thread = threading.Thread(target=read)
    thread.start()
    begun.wait()
    wait([fork(lambda: refused(memory))])
    done.set()
    thread.join()
    assert memory.status(user_id="parent").turns == 3


def while_a_reply_comes(memory: HyMem) -> None:
    """The parent goes on reading; the child neither reads nor remembers it."""
    stream = memory.chat_stream("Hello!", user_id="stream")
    shown = next(stream)

    def child() -> None:
        assert list(stream) == []
        memory.close()

    wait([fork(child)])
    assert shown + "".join(stream) == "That is good to hear."
    turns = memory.get_all(user_id="stream", where=Filter(kind="turn"))
    assert [one.text for one in turns] == ["Hello!", "That is good to hear."]


def refused(memory: HyMem) -> None:
    """The memory, and any other on its file, says that it cannot be used."""
    told = []
    for use in (
        lambda: memory.add("lost", user_id="parent"),
        lambda: memory.search("one", user_id="parent"),
        lambda: HyMem(memory._store._db.path, llm=None),
    ):
        try:
            use()
        except StoreError as error:
            told.append(str(error))
    assert ["fork while no call is under way" in one for one in told] == [True] * 3


def check(folder: Path, kept: Path) -> None:
    with sqlite3.connect(folder / "m.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    with HyMem(folder / "m.db", llm=None, background=False) as memory:
        there = [
            item.text
            for scope in memory.scopes()
            for item in memory.get_all(user_id=scope.user_id)
            if isinstance(item, Turn)
        ]
    acknowledged = kept.read_text().splitlines()
    told = [text for text in there if text in acknowledged]
    assert len(told) == len(set(told)), "something was saved twice"
    assert set(acknowledged) <= set(there), set(acknowledged) - set(there)


if __name__ == "__main__":
    way, forks, where = sys.argv[1:]
    faulthandler.dump_traceback_later(5 * PATIENCE, exit=True)
    kept = Path(where) / "kept"
    ways = (busy, idle, preload, closed, many, tasks, odd)
    {one.__name__: one for one in ways}[way](int(forks), Path(where), kept)
    check(Path(where), kept)
    print("ended well")
