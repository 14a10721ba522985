"""No call outlasts its deadline, and no reader keeps the slots of others."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hostile_replies import drip
from openai_server import Drop, Fail, Hang, OpenAIServer, Raw, Say

from hymem.encoders.openai import OpenAIEncoder
from hymem.errors import EncoderError, InputError, LLMError
from hymem.llm.openai import OpenAIChat
from hymem.llm.slots import behind_add

ASK = [{"role": "user", "content": "Where does Ana live?"}]
_STREAMING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
_PIECE = b'data: {"choices": [{"index": 0, "delta": {"content": "x"}}]}\n\n'
SLOW = Raw([_STREAMING, _PIECE, 30.0])


def chat(server: OpenAIServer, **options: Any) -> OpenAIChat:
    return OpenAIChat("m", base_url=server.url, api_key="k", **({"max_retries": 0} | options))


def seconds(call: Callable[[], Any]) -> float:
    started = time.monotonic()
    call()
    return time.monotonic() - started


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("deadline", [None, 0.6])
def test_an_endpoint_that_drips_is_given_up(deadline: float | None, server: OpenAIServer) -> None:
    server.answer = lambda body: drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" ")
    llm = chat(server, timeout=0.3, deadline=deadline, max_retries=1 if deadline else 0)
    with pytest.raises(LLMError, match=r"no reply within 0\.[36] s") as caught:
        assert seconds(lambda: llm.complete(ASK)) < 3
    assert caught.value.down


def test_the_deadline_counts_retries_waits_and_corrections(server: OpenAIServer) -> None:
    server.answer = lambda body: Fail(503, {"Retry-After": "60"})
    llm = chat(server, deadline=0.5, max_retries=3)
    llm.base_url  # noqa: B018
    started = time.monotonic()
    with pytest.raises(LLMError, match=r"within 0\.5 s, the waits"):
        llm.complete(ASK)
    assert time.monotonic() - started < 3
    server.answer = lambda body: Raw([0.3, *SAID_NOTHING.parts])
    with pytest.raises(LLMError, match=r"within 0\.5 s"):  # an empty reply is asked for again
        llm.complete(ASK)


SAID_NOTHING = Raw(
    [b'HTTP/1.1 200 OK\r\n\r\n{"choices": [{"index": 0, "message": {"content": ""}}]}']
)


def test_a_call_that_finds_no_slot_says_so_in_time(server: OpenAIServer) -> None:
    server.script(Hang(1.0))
    llm = chat(server, concurrency=1, timeout=5.0)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(llm.complete, ASK)
        until(lambda: server.busy == 1)
        with pytest.raises(LLMError, match="a slot"):
            llm._connection.call(lambda client: client.models.list(), time.monotonic() + 0.2)
        assert server.calls == 1
        assert isinstance(first.exception(), LLMError)
    assert llm.complete(ASK).value == "ok"


def test_a_slow_endpoint_of_embeddings_is_given_up(server: OpenAIServer) -> None:
    server.always = drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")
    options: dict[str, Any] = {"timeout": 0.3, "deadline": 0.6}
    encoder = OpenAIEncoder("e", dim=2, base_url=server.url, **options)
    with pytest.raises(EncoderError, match="no reply within"):
        encoder.encode(["tea"])


def test_readers_that_stop_reading_keep_nobody_waiting(server: OpenAIServer) -> None:
    server.answer = lambda body: "She moved to Lyon in March."
    llm = chat(server, concurrency=2, deadline=5.0)
    unread = [llm.stream(ASK) for _ in range(8)]
    assert [next(stream) for stream in unread] == ["She"] * 8
    assert llm.complete(ASK).value == "She moved to Lyon in March."
    *rest, done = unread[0]  # and they find the rest where they left it
    assert "".join(map(str, rest)) == " moved to Lyon in March."
    assert done.text == "She moved to Lyon in March."  # type: ignore[union-attr]


def test_unread_streams_without_end_hold_slots_until_their_deadline(server: OpenAIServer) -> None:
    server.answer = lambda body: drip(_STREAMING, _PIECE) if body.get("stream") else Say("ok")
    llm = chat(server, concurrency=2, timeout=5.0, deadline=1.5)
    unread = [llm.stream(ASK) for _ in range(2)]
    assert [next(stream) for stream in unread] == ["x", "x"]
    llm._connection._deadline = 20.0  # of the calls after them
    assert llm.complete(ASK).value == "ok"
    for stream in unread:
        with pytest.raises(LLMError, match="broke off"):
            list(stream)


def test_extraction_and_chats_have_slots_of_their_own(server: OpenAIServer) -> None:
    server.answer = lambda body: Hang(3.0) if "slow" in str(body) else Say("ok")
    llm = chat(server, concurrency=1, deadline=20.0)
    slow = [{"role": "user", "content": "slow"}]

    def extract(messages: Any) -> Any:
        with behind_add():
            return llm.complete(messages)

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(llm.complete, slow)
        until(lambda: server.busy == 1)
        assert seconds(lambda: extract(ASK)) < 2
        assert isinstance(waiting.exception(), LLMError)
        waiting = pool.submit(extract, slow)
        until(lambda: server.busy == 1)
        assert seconds(lambda: llm.complete(ASK)) < 2
        assert isinstance(waiting.exception(), LLMError)


@pytest.mark.parametrize("way", ["close", "drop", "never begun"])
def test_a_reader_who_leaves_frees_the_slot(way: str, server: OpenAIServer) -> None:
    server.answer = lambda body: SLOW if body.get("stream") else Say("ok")
    llm = chat(server, concurrency=1, timeout=20.0, deadline=20.0)
    stream = llm.stream(ASK)
    if way != "never begun":
        assert next(stream) == "x"
    if way != "drop":
        stream.close()  # type: ignore[attr-defined]
        stream.close()  # type: ignore[attr-defined]
        assert list(stream) == []
    del stream
    gc.collect()
    assert seconds(lambda: llm.complete(ASK)) < 3


def test_a_stream_may_be_closed_while_another_thread_waits_in_it(server: OpenAIServer) -> None:
    server.answer = lambda body: SLOW if body.get("stream") else Say("ok")
    llm = chat(server, concurrency=1, timeout=20.0, deadline=20.0)
    stream = llm.stream(ASK)
    assert next(stream) == "x"
    ended: list[BaseException] = []

    def read() -> None:
        try:
            next(stream)
        except BaseException as error:
            ended.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    time.sleep(0.1)
    stream.close()  # type: ignore[attr-defined]
    reader.join(3)
    assert not reader.is_alive()
    assert isinstance(ended[0], GeneratorExit)
    assert seconds(lambda: llm.complete(ASK)) < 3


def test_a_dropped_connection_frees_the_slot(server: OpenAIServer) -> None:
    llm = chat(server, concurrency=1, deadline=5.0)
    server.script(Drop(), Drop(2, "one two three"), Fail(500), Hang(0.01))
    for _ in range(4):
        with pytest.raises(LLMError):
            list(llm.stream(ASK))
    assert llm.complete(ASK).value == "ok"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_of_a_process_that_has_called_can_call(server: OpenAIServer) -> None:
    llm = chat(server, deadline=10.0)
    llm.complete(ASK)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if llm.complete(ASK).value == "ok" else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert llm.complete(ASK).value == "ok"  # the parent's connection is still its own
    assert server.calls == 3


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": -1.0},
        {"timeout": float("inf")},
        {"timeout": None},
        {"deadline": 0},
        {"deadline": "1"},
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"concurrency": 0},
        {"concurrency": True},
    ],
)
def test_limits_that_cannot_be_are_refused(options: dict[str, Any], server: OpenAIServer) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        chat(server, **options)


@pytest.fixture(autouse=True)
def nothing_is_left_open(server: OpenAIServer) -> Iterator[None]:
    yield
    gc.collect()
