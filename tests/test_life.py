"""Closing: refuses, waits, and never crashes, whoever does what meanwhile."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from closing import CALLS, Slowly
from test_worker import until

import hymem.life
from hymem import AsyncHyMem, HyMem, Statement, StoreClosedError, StoreError, Turn
from hymem.stores.base import Status

PROGRAM = Path(__file__).parent / "programs" / "closing.py"
WAYS = ("threads", "asyncio", "exit", "dropped")


def close_often(way: str, rounds: int, folder: Path, seed: int) -> None:
    """Runs ``closing.py``; fails unless it ends well, with nothing to say."""
    command = [sys.executable, "-X", "faulthandler", str(PROGRAM)]
    command += [way, str(rounds), str(folder), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, "ended well\n"), done.stderr[-3000:]
    assert "Exception" not in done.stderr, done.stderr[-3000:]


@pytest.mark.parametrize("way", WAYS)
def test_no_call_crashes_a_close(tmp_path: Path, way: str) -> None:
    close_often(way, 2, tmp_path, 0)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_no_call_crashes_a_hundred_closes(tmp_path: Path, way: str) -> None:
    if way == "exit":  # only once a process
        for seed in range(100):
            close_often(way, 1, tmp_path / str(seed), seed)
    else:
        close_often(way, 100, tmp_path, 1)


def test_every_public_call_is_refused_after_the_close(tmp_path: Path) -> None:
    public = {n for n, m in vars(HyMem).items() if n[0] != "_" and callable(m)}
    assert set(CALLS) == public - {"close"}
    memory = HyMem(tmp_path / "m.db", llm=Slowly())
    stream = memory.chat_stream("hello", user_id="ana")
    memory.close()
    for call in CALLS.values():
        with pytest.raises(StoreClosedError, match="closed; open it again"):
            call(memory, tmp_path)
    with pytest.raises(StoreClosedError):
        next(stream)
    assert issubclass(StoreClosedError, StoreError)


class Stuck:
    """An extractor that hangs until it is let go."""

    def __init__(self) -> None:
        self.at_work, self.let_go = threading.Event(), threading.Event()

    def extract(self, events: Sequence[Sequence[Turn]]) -> list[list[Statement]]:
        self.at_work.set()
        assert self.let_go.wait(30)
        return [[Statement("Ana lives in Lyon.", (0,), turns[0].time)] for turns in events]


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    stuck = Stuck()
    yield stuck
    stuck.let_go.set()


def test_close_waits_for_the_calls_under_way(tmp_path: Path, stuck: Stuck) -> None:
    memory = HyMem(tmp_path / "m.db", llm=None, extractor=stuck, background=False)
    user = threading.Thread(target=lambda: memory.add("I live in Lyon.", user_id="a", wait=True))
    user.start()
    assert stuck.at_work.wait(10)
    closer = threading.Thread(target=memory.close)
    closer.start()
    assert until(lambda: not memory._life.is_open())
    with pytest.raises(StoreClosedError):
        memory.status(user_id="a")
    assert closer.is_alive()
    stuck.let_go.set()
    closer.join(10)
    user.join(10)
    with HyMem(tmp_path / "m.db", llm=None, background=False) as memory:
        assert memory.status(user_id="a").units == 1


@pytest.mark.parametrize("background", [False, True])
def test_what_overstays_is_left_behind_and_told(
    tmp_path: Path, stuck: Stuck, monkeypatch: pytest.MonkeyPatch, background: bool
) -> None:
    monkeypatch.setattr(hymem.life, "CLOSE_SECONDS", 0.3)
    memory = HyMem(tmp_path / "m.db", llm=None, extractor=stuck, background=background)
    ended: list[Any] = []

    def use() -> None:
        try:
            ended.append(memory.flush(user_id="a"))
        except StoreClosedError as error:
            ended.append(error)

    memory.add("I live in Lyon.", user_id="a", session_id="1")
    memory.add("I live in Nice.", user_id="a", session_id="2")
    user = threading.Thread(target=use)
    if not background:
        user.start()
    assert stuck.at_work.wait(10)
    started = time.monotonic()
    memory.close()
    assert 0.25 < time.monotonic() - started < 3
    with HyMem(tmp_path / "m.db", llm=None, background=False) as again:
        stuck.let_go.set()
        if background:
            thread = memory._worker._thread
            thread.join(10)
            assert not thread.is_alive()
        else:
            user.join(10)
            assert isinstance(ended[0], StoreClosedError)
        assert again.status(user_id="a").turns == 2
        assert again.status(user_id="a").units == 0


def test_a_file_is_let_go_by_the_last_who_uses_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hymem.life, "CLOSE_SECONDS", 0.1)
    memory = HyMem(tmp_path / "m.db", llm=None)
    memory.add([{"role": "user", "content": text} for text in ("one", "two")], user_id="ana")
    records = memory._store.dump()
    for _ in range(2):
        next(records)  # a view of the database is in use from now on
    memory.close()
    assert held(tmp_path / "m.db")
    assert [record["text"] for record in records if record["record"] == "turn"] == ["two"]
    assert not held(tmp_path / "m.db")


def held(path: Path) -> list[str]:
    """The files of the database that this process has open."""
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    names = [os.readlink(link) for link in links if os.path.islink(link)]
    return [name for name in names if name.startswith(str(path))]


@pytest.mark.parametrize("by_signal", [False, True])
def test_a_call_may_close_its_own_memory(tmp_path: Path, by_signal: bool) -> None:
    class Closes(Stuck):
        def extract(self, events: Sequence[Sequence[Turn]]) -> list[list[Statement]]:
            if by_signal:
                signal.raise_signal(signal.SIGTERM)
            else:
                memory.close()
            return super().extract(events)

    extractor = Closes()
    extractor.let_go.set()
    memory = HyMem(tmp_path / "m.db", llm=None, extractor=extractor, background=False)
    before = signal.signal(signal.SIGTERM, lambda *_: memory.close())
    try:
        with pytest.raises(StoreClosedError):
            memory.add("I live in Lyon.", user_id="ana", wait=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not held(tmp_path / "m.db")


def test_a_stream_that_is_not_read_ends_with_its_memory_and_is_remembered(tmp_path: Path) -> None:
    memory = HyMem(tmp_path / "m.db", llm=Slowly())
    stream = memory.chat_stream("Hello!", user_id="ana")
    assert next(stream) == "That is "
    started = time.monotonic()
    memory.close()
    assert time.monotonic() - started < 5
    with pytest.raises(StoreClosedError):
        next(stream)
    with HyMem(tmp_path / "m.db", llm=None) as memory:
        texts = [one.text for one in memory.get_all(user_id="ana") if isinstance(one, Turn)]
        assert texts == ["Hello!", "That is "]


def test_a_stream_left_after_the_close_says_so_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = HyMem(tmp_path / "m.db", llm=Slowly())
    stream = memory.chat_stream("Hello!", user_id="ana")
    pieces = stream._pieces
    next(pieces)  # as by a reader that the close has missed
    memory._life._streams.clear()
    memory.close()
    with caplog.at_level(logging.WARNING, "hymem"):
        pieces.close()
    assert "not remembered" in caplog.text


def test_an_async_close_does_not_queue_behind_waiting_calls(
    tmp_path: Path, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hymem.life, "CLOSE_SECONDS", 0.3)

    async def use() -> list[Any]:
        memory = AsyncHyMem(tmp_path / "m.db", llm=None, extractor=stuck, background=False)
        for number in range(100):
            await memory.add(f"I live in Lyon {number}.", user_id=f"u{number}")
        calls = [asyncio.create_task(memory.flush(user_id=f"u{n}")) for n in range(100)]
        await asyncio.sleep(0.2)
        started = time.monotonic()
        await memory.close()
        assert time.monotonic() - started < 5
        stuck.let_go.set()
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)

    ended = asyncio.run(use())
    # A call that had not yet begun to wait ends well.
    assert all(isinstance(one, (StoreClosedError, Status)) for one in ended)
    assert sum(isinstance(one, StoreClosedError) for one in ended) > 10
