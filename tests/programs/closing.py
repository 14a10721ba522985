"""Closes a memory while every public call is under way on it, as a program of its own: a crash of
the interpreter must not take the tests along.

    python closing.py threads|asyncio|exit|dropped ROUNDS FOLDER SEED
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hymem import AsyncHyMem, Completion, HyMem, HyMemError, LLMOutputError, StoreClosedError
from hymem.offline import OfflineExtractor

THREADS = 6
TASKS = 12
SCOPES = ("ana", "ben", "cem")
_numbers = itertools.count()


class Slowly:
    """A model that takes its time, and whose replies fit no schema."""

    model = "slowly"

    def complete(
        self, messages: Sequence[Mapping[str, str]], schema: type[Any] | None = None
    ) -> Completion:
        time.sleep(random.uniform(0, 0.05))
        if schema is not None:
            raise LLMOutputError("no JSON in the reply")
        return Completion(None, "That is good to hear.", self.model, 9, 5, 0)

    def stream(self, messages: Sequence[Mapping[str, str]]) -> Iterator[str | Completion]:
        for piece in ("That is ", "good ", "to hear."):
            time.sleep(random.uniform(0, 0.02))
            yield piece
        yield Completion(None, "That is good to hear.", self.model, 9, 5, 0)


def _who() -> dict[str, str]:
    return {"user_id": random.choice(SCOPES)}


def _text() -> str:
    return f"I bought {next(_numbers)} red kettles in Lyon. " + "They are good. " * random.choice(
        (1, 9)
    )


# Every public method but ``close``; what it is called with.
CALLS: dict[str, Callable[[Any, Path], Any]] = {
    "add": lambda m, folder: m.add(_text(), wait=random.random() < 0.2, **_who()),
    "flush": lambda m, folder: m.flush(**_who()),
    "search": lambda m, folder: m.search("red kettles", **_who()),
    "recall": lambda m, folder: m.recall("What did I buy in Lyon?", **_who()),
    "ask": lambda m, folder: m.ask("What did I buy in Lyon?", **_who()),
    "chat": lambda m, folder: m.chat(_text(), **_who()),
    "chat_stream": lambda m, folder: m.chat_stream(_text(), **_who()),
    "get": lambda m, folder: m.get(random.randrange(1, 99), **_who()),
    "get_all": lambda m, folder: m.get_all(**_who()),
    "update": lambda m, folder: m.update(random.randrange(1, 99), _text(), **_who()),
    "delete": lambda m, folder: m.delete(random.randrange(1, 99), **_who()),
    "delete_all": lambda m, folder: m.delete_all(user_id="cem"),
    "delete_user": lambda m, folder: m.delete_user("cem"),
    "scopes": lambda m, folder: m.scopes(),
    "users": lambda m, folder: m.users(),
    "history": lambda m, folder: m.history(random.randrange(1, 99), **_who()),
    "export": lambda m, folder: m.export(folder / f"{next(_numbers)}.jsonl", **_who()),
    "import_": lambda m, folder: m.import_(folder / "import.jsonl"),
    "backup": lambda m, folder: m.backup(folder / f"{next(_numbers)}.backup"),
    "compact": lambda m, folder: m.compact(),
    "costs": lambda m, folder: m.costs(**_who()),
    "status": lambda m, folder: m.status(**_who()),
}
_OFTEN = ("search", "recall", "get_all", "add")


def _name() -> str:
    return random.choice((*CALLS, *_OFTEN, *_OFTEN))


def opened(kind: type, folder: Path) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    return kind(folder / "m.db", llm=Slowly(), extractor=OfflineExtractor())


def fill(folder: Path) -> None:
    with opened(HyMem, folder) as memory:
        for user in SCOPES:
            said = [{"role": "user", "content": _text()} for _ in range(100)]
            memory.add(said, user_id=user, session_id="1")
        memory.add("It is late in Lyon.", user_id="dan", wait=True)
        memory.export(folder / "import.jsonl", user_id="dan")


def threads(folder: Path) -> None:
    """``close`` in one thread while others call whatever there is."""
    memory, kept, wrong = opened(HyMem, folder), set(), []

    def use() -> None:
        while True:
            name = _name()
            try:
                done = CALLS[name](memory, folder)
                if name == "chat_stream":
                    list(itertools.islice(done, random.randrange(4)))
                if name == "add":
                    kept.update(done)
            except StoreClosedError:
                return
            except HyMemError:
                continue
            except BaseException as error:
                wrong.append((name, error))
                return

    users = [threading.Thread(target=use) for _ in range(THREADS)]
    for user in users:
        user.start()
    time.sleep(random.uniform(0, 0.3))
    started = time.monotonic()
    memory.close()
    assert time.monotonic() - started < 20, "close took too long"
    for user in users:
        user.join(30)
    assert not any(user.is_alive() for user in users), "a call never came back"
    assert not wrong, wrong
    check(folder)


async def _tasks(folder: Path) -> None:
    memory, wrong = opened(AsyncHyMem, folder), []

    async def use() -> None:
        while True:
            name = _name()
            try:
                done = CALLS[name](memory, folder)
                if name != "chat_stream":
                    await done
                    continue
                async for _ in done:
                    if random.random() < 0.2:
                        break
            except StoreClosedError:
                return
            except HyMemError:
                continue
            except Exception as error:
                wrong.append((name, error))
                return

    users = [asyncio.create_task(use()) for _ in range(TASKS)]
    for user in random.sample(users, TASKS // 3):
        await asyncio.sleep(random.uniform(0, 0.1))
        user.cancel()
    started = time.monotonic()
    await memory.close()
    assert time.monotonic() - started < 20, "close took too long"
    ended = await asyncio.wait_for(asyncio.gather(*users, return_exceptions=True), 30)
    assert all(one is None or isinstance(one, asyncio.CancelledError) for one in ended), ended
    assert not wrong, wrong


def tasks(folder: Path) -> None:
    """``await close()`` while tasks call whatever there is, and some are cancelled."""
    asyncio.run(_tasks(folder))
    check(folder)


def at_exit(folder: Path) -> None:
    """The interpreter ends while daemon threads go on calling."""
    memory = opened(HyMem, folder)

    def use() -> None:
        while True:
            try:
                CALLS[_name()](memory, folder)
            except StoreClosedError:
                return
            except HyMemError:
                continue

    for _ in range(THREADS):
        threading.Thread(target=use, daemon=True).start()
    time.sleep(random.uniform(0, 0.3))


def dropped(folder: Path) -> None:
    """Objects that are never closed: garbage, in reference cycles too, while their workers work."""
    memory = opened(HyMem, folder)
    cycle: list[Any] = [memory]
    cycle.append(cycle)
    for user in SCOPES:
        memory.add(_text(), user_id=user, session_id=str(next(_numbers)))
        memory.search("kettle", user_id=user)
    del memory, cycle
    gc.collect()


def check(folder: Path) -> None:
    """The file is whole, and nothing of it is held open any more."""
    with sqlite3.connect(folder / "m.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


if __name__ == "__main__":
    way, rounds, where, seed = sys.argv[1:]
    random.seed(int(seed))
    folder = Path(where)
    fill(folder)
    for _ in range(int(rounds)):
        {"threads": threads, "asyncio": tasks, "exit": at_exit, "dropped": dropped}[way](folder)
    if way == "dropped":
        deadline = time.monotonic() + 20
        while (held := [t for t in threading.enumerate() if t.name == "hymem"]) and (
            time.monotonic() < deadline
        ):
            time.sleep(0.05)
        assert not held, held
    print("ended well")
