"""Parts of the user's own, and signals, that end the program or the thread they are raised on."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai_server import Hang, OpenAIServer
from test_ingest import ENCODER, EveryTurn

import hymem.write.worker
from hymem import AsyncHyMem, Completion, HyMem, LLMError
from hymem.stores.base import Status
from hymem.write.extract import LLMExtractor
from hymem.write.segment import TopicSegmenter

PROGRAM = Path(__file__).parent / "programs" / "interrupted.py"
LEAVING = [SystemExit(1), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError()]
# Those that leave the program where they are raised on its main thread.
PROGRAM_ENDS = LEAVING[:2]


class Parts:
    """Encoder, segmenter, extractor and model in one. One of its methods raises ``error`` when it
    is given the word "poison"."""

    name, version, dim = ENCODER.name, ENCODER.version, ENCODER.dim
    max_tokens = ENCODER.max_tokens
    model = "own"

    def __init__(self, method: str, error: BaseException) -> None:
        self.method, self.error = method, error
        self.extracts = EveryTurn()
        self.extracts.poisonous = False

    def _check(self, method: str, given: object) -> None:
        if method == self.method and "poison" in str(given):
            raise self.error

    def encode(self, texts: Any) -> np.ndarray:
        self._check("encode", texts)
        return ENCODER.encode(texts)

    def segment(self, turns: Any, vectors: Any) -> Any:
        self._check("segment", turns)
        return TopicSegmenter().segment(turns, vectors)

    def extract(self, events: Any) -> Any:
        self._check("extract", events)
        return self.extracts.extract(events)

    def complete(self, messages: Any, schema: Any = None) -> Completion:
        self._check("complete", messages)
        if schema is None:
            return Completion("fine", "fine", self.model, 1, 1)
        return Completion(schema(statements=[]), "{}", self.model, 1, 1)

    def stream(self, messages: Any) -> Any:
        self._check("complete", messages)
        yield "fine"
        self._check("stream", messages)


def open_with(path: Path, parts: Parts, **more: Any) -> HyMem:
    extractor = LLMExtractor(parts) if parts.method == "complete" else parts
    return HyMem(
        path / "m.db",
        llm=parts,
        encoder=parts,
        segmenter=parts,
        extractor=extractor,
        prices={"own": (0, 0)},
        **more,
    )


def seconds(call: Callable[[], Any]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 20
    while time.monotonic() < end and not true():
        time.sleep(0.02)
    return true()


def is_settled(status: Status) -> bool:
    return status.unsegmented == 0 and set(status.events) <= {"done", "failed"}


@pytest.mark.parametrize("error", LEAVING, ids=repr)
@pytest.mark.parametrize("method", ["segment", "extract", "complete"])
def test_behind_add_it_is_that_events_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, error: BaseException
) -> None:
    monkeypatch.setattr(hymem.write.worker, "IDLE_SECONDS", 0.2)
    with open_with(tmp_path, Parts(method, error)) as memory:
        for number, text in enumerate(["I like rain.", "poison", "I like snow."]):
            memory.add(text, user_id="ana", session_id=str(number))
        memory.add("I like fog.", user_id="ben")
        assert until(lambda: is_settled(memory.status(user_id="ana")))
        assert until(lambda: is_settled(memory.status(user_id="ben")))
        bad = 0 if method == "segment" else 1  # such turns are cut by rules
        events = memory.status(user_id="ana").events
        assert events == {"done": 3 - bad} | ({"failed": bad} if bad else {})
        if bad:
            assert type(error).__name__ in str(memory.status(user_id="ana").last_error)
        assert seconds(memory.close) < 5


@pytest.mark.parametrize("error", LEAVING, ids=repr)
@pytest.mark.parametrize("method", ["segment", "extract", "complete"])
def test_on_the_main_thread_what_leaves_the_program_leaves_and_holds_nothing(
    tmp_path: Path, method: str, error: BaseException
) -> None:
    parts = Parts(method, error)
    with open_with(tmp_path, parts, background=False) as memory:
        for number, text in enumerate(["I like rain.", "poison"]):
            memory.add(text, user_id="ana", session_id=str(number))
        if error in PROGRAM_ENDS:
            with pytest.raises(type(error)):
                memory.flush(user_id="ana")
            assert "leased" not in memory.status(user_id="ana").events
        else:
            memory.flush(user_id="ana")
        parts.method = ""
        assert seconds(lambda: memory.flush(user_id="ana")) < 5
        assert memory.status(user_id="ana").events == {"done": 2}
        assert seconds(memory.close) < 5


@pytest.mark.parametrize("error", LEAVING, ids=repr)
def test_an_encoder_that_leaves(tmp_path: Path, error: BaseException) -> None:
    parts = Parts("encode", error)
    with open_with(tmp_path, parts, background=False) as memory:

        def kept() -> int:
            return memory.status(user_id="ana").turns

        def add_and_search() -> None:
            memory.add("This is poison.", user_id="ana")
            assert memory.search("poison", user_id="ana")

        if error in PROGRAM_ENDS:
            with pytest.raises(type(error)):
                add_and_search()
            assert kept() == 0
        other = threading.Thread(target=add_and_search)
        other.start()
        other.join(20)
        assert kept() == 1  # without its vector
        parts.method = ""
        memory.flush(user_id="ana")
        assert memory.status(user_id="ana").unembedded == 0
        assert seconds(memory.close) < 5


@pytest.mark.parametrize("error", LEAVING, ids=repr)
@pytest.mark.parametrize("method", ["complete", "stream"])
def test_a_model_that_leaves_a_chat(tmp_path: Path, method: str, error: BaseException) -> None:
    parts = Parts(method, error)
    raised = type(error) if error in PROGRAM_ENDS else LLMError
    with open_with(tmp_path, parts, background=False) as memory:
        if method == "complete":
            with pytest.raises(raised):
                memory.chat("poison", user_id="ana")
        if not isinstance(error, GeneratorExit):  # a stream's own end
            with pytest.raises(raised):
                list(memory.chat_stream("poison", user_id="ana"))
        parts.method = ""
        assert memory.chat("I like rain.", user_id="ana").text == "fine"
        assert list(memory.chat_stream("I like rain.", user_id="ana")) == ["fine"]
        assert seconds(memory.close) < 5


@pytest.mark.parametrize("error", LEAVING, ids=repr)
def test_an_event_loop_goes_on(tmp_path: Path, error: BaseException) -> None:
    async def use() -> None:
        parts = Parts("encode", error)
        async with AsyncHyMem(
            tmp_path / "m.db", llm=parts, encoder=parts, background=False, prices={"own": (0, 0)}
        ) as memory:
            await memory.add("This is poison.", user_id="ana")
            assert await memory.search("poison", user_id="ana")
            parts.method = "complete"
            with pytest.raises(LLMError):
                await memory.chat("poison", user_id="ana")
            parts.method = ""
            assert (await memory.chat("I like rain.", user_id="ana")).text == "fine"

    asyncio.run(use())


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(
    "way", ["one scope", pytest.param("several scopes", marks=pytest.mark.slow)]
)
def test_a_program_that_is_interrupted_ends_and_keeps_nothing_from_the_next(
    server: OpenAIServer, tmp_path: Path, way: str
) -> None:
    server.answer = lambda body: Hang(60.0)
    path = tmp_path / "m.db"
    program = subprocess.Popen(
        [sys.executable, str(PROGRAM), str(path), server.url, way],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert until(lambda: server.busy > 2)
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=20)  # a close waits for ten seconds
    finally:
        program.kill()
    assert program.returncode in (1, -signal.SIGINT)
    assert "KeyboardInterrupt" in said
    with HyMem(path, llm=None, background=False) as memory:
        assert memory.status(user_id="ana").turns == 6
        assert seconds(lambda: memory.flush(all_scopes=True)) < 25
        assert memory.status(user_id="ana").events == {"done": 6}
