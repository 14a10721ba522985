"""Whatever an endpoint answers is a reply or one of our errors, soon, and shows no key."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_replies import ANY, CHUNKS, GOOD, MESSAGES, VECTORS, http
from openai_server import KEY, OpenAIServer, Raw
from pydantic import BaseModel

from hymem import HyMem
from hymem.encoders.openai import OpenAIEncoder
from hymem.errors import EncoderError, LLMError
from hymem.llm.openai import OpenAIChat
from hymem.types import Completion

ASK = [{"role": "user", "content": "Where does Ana live?"}]
SECRET = "sk-proj-very-secret-key-0123456789"
# One attempt, and the whole call, in seconds. A busy machine may take as long again.
LIMITS: dict[str, Any] = {"timeout": 0.5, "deadline": 1.0, "max_retries": 0}
SOON = 3.0


class City(BaseModel):
    city: str
    year: int


def connect(server: OpenAIServer) -> OpenAIChat:
    return OpenAIChat("test-model", base_url=server.url, api_key=SECRET, **LIMITS)


def complete(server: OpenAIServer) -> Any:
    return connect(server).complete(ASK).value


def structured(server: OpenAIServer) -> Any:
    return connect(server).complete(ASK, City).value


def stream(server: OpenAIServer) -> Any:
    *pieces, done = connect(server).stream(ASK)
    assert isinstance(done, Completion)
    assert done.text == "".join(map(str, pieces))
    return done.text


def embed(server: OpenAIServer) -> Any:
    encoder = OpenAIEncoder("e", dim=2, base_url=server.url, api_key=SECRET, **LIMITS)
    return encoder.encode(["tea", "cake"])


@pytest.fixture(autouse=True)
def no_key_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    said = [record.getMessage() for record in caplog.get_records("call")]
    assert not [line for line in said if SECRET in line]


def outcome(call: Callable[[OpenAIServer], Any], server: OpenAIServer, reply: Raw) -> Any:
    """What the call returns, or its error, which must be ours, come soon and show no key."""
    import openai  # noqa: F401  (loaded before the clock starts)

    server.always = reply
    started = time.monotonic()
    failure: LLMError | EncoderError | None = None
    try:
        result = call(server)
    except (LLMError, EncoderError) as error:
        failure = error
    assert time.monotonic() - started < SOON
    if failure is None:
        return result
    shown = "".join(traceback.format_exception(failure)) + repr(failure)
    assert SECRET[:12] not in shown
    assert failure.__cause__ is failure.__context__ is None  # nor can it be dug out
    assert len(str(failure)) < 1000
    return failure


@pytest.mark.parametrize("kind", ANY)
@pytest.mark.parametrize("call", [complete, structured, stream, embed])
def test_no_endpoint_gets_through(
    call: Callable[[OpenAIServer], Any], kind: str, server: OpenAIServer
) -> None:
    wanted = EncoderError if call is embed else LLMError
    assert isinstance(outcome(call, server, ANY[kind]), wanted)


@pytest.mark.parametrize("kind", MESSAGES)
def test_odd_messages(kind: str, server: OpenAIServer) -> None:
    body, text = MESSAGES[kind]
    reply = http(body.encode("latin-1") if "\xff" in body else body)
    whole, fitted = outcome(complete, server, reply), outcome(structured, server, reply)
    if kind == "no JSON in the reply":
        assert isinstance(whole, str)
        assert isinstance(fitted, LLMError)
    elif text is None:
        assert isinstance(whole, LLMError)
        assert isinstance(fitted, LLMError)
    else:
        assert whole.startswith(text)
        whole.encode()  # fit for a file
        assert fitted == City(city="Lyon", year=2026)


@pytest.mark.parametrize("kind", [kind for kind, (_, text) in MESSAGES.items() if text])
def test_tokens_of_odd_messages_are_whole_numbers_or_unknown(
    kind: str, server: OpenAIServer
) -> None:
    server.always = http(MESSAGES[kind][0])
    done = connect(server).complete(ASK)
    for count in (done.input_tokens, done.output_tokens, done.cached_tokens):
        assert count is None or (type(count) is int and 0 <= count < 10**9)


@pytest.mark.parametrize("kind", CHUNKS)
def test_odd_streams(kind: str, server: OpenAIServer) -> None:
    reply, text = CHUNKS[kind]
    got = outcome(stream, server, reply)
    if text is None:
        assert isinstance(got, LLMError)
    else:
        assert got == text


@pytest.mark.parametrize("kind", VECTORS)
def test_odd_vectors(kind: str, server: OpenAIServer) -> None:
    body, good = VECTORS[kind]
    got = outcome(embed, server, http(body))
    if good:
        np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)
    else:
        assert isinstance(got, EncoderError)


ECHOES = [
    kind
    for kind, raw in ANY.items()
    if any(isinstance(part, bytes) and KEY in part for part in raw.parts)
]


def test_no_key_gets_into_the_file(server: OpenAIServer, tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    for kind in ECHOES:
        server.always = ANY[kind]
        with HyMem(path, llm=connect(server), background=False) as memory:
            memory.add("My cat is called Tom.", user_id=kind)
            assert memory.flush(user_id=kind).units == 0
            with pytest.raises(LLMError):
                memory.chat("What is my cat called?", user_id=kind)
    held = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"not for you" in held  # the errors are told
    assert SECRET[:12].encode() not in held


def test_the_good_ones_among_them_are_good() -> None:
    assert sum(text is not None for _, text in MESSAGES.values()) > 10
    assert City.model_validate_json(GOOD) == City(city="Lyon", year=2026)
    assert len(ANY) + len(MESSAGES) + len(CHUNKS) + len(VECTORS) > 52
