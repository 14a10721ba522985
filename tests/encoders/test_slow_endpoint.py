"""An endpoint of embeddings that does not answer keeps nobody waiting who chats."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hostile_replies import drip
from openai_server import DIM, OpenAIServer, Raw

from hymem import HyMem
from hymem.encoders.openai import OpenAIEncoder
from hymem.errors import EncoderError
from hymem.llm import waits

HANGS = Raw([20.0])
DRIPS = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" ", 200)
SHORT = 0.4
TEXT = "I fly to Quito on Monday."


@pytest.fixture
def encoder(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> OpenAIEncoder:
    monkeypatch.setattr(waits, "LONGEST_SECONDS", SHORT)
    return OpenAIEncoder("e", dim=DIM, base_url=server.url)


@pytest.fixture
def memory(encoder: OpenAIEncoder, tmp_path: Any) -> Iterator[HyMem]:
    with HyMem(
        tmp_path / "m.db", encoder=encoder, background=False, prices={"e": (0, 0)}
    ) as memory:
        memory.add("I have a parrot.", user_id="ana")
        yield memory


def seconds(call: Callable[[], Any]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def owed(memory: HyMem) -> int:
    return memory.status(user_id="ana").unembedded


@pytest.mark.parametrize("silence", [HANGS, DRIPS], ids=["hangs", "drips"])
def test_adding_and_searching_go_on_by_words(
    silence: Raw, memory: HyMem, encoder: OpenAIEncoder, server: OpenAIServer
) -> None:
    server.always = silence
    before = server.calls
    assert SHORT <= seconds(lambda: memory.add(TEXT, user_id="ana")) < 10 * SHORT
    assert owed(memory) == 1
    # Whoever comes next does not wait again.
    assert seconds(lambda: memory.add("My cat is Miso.", user_id="ana")) < SHORT
    hits = memory.search("Quito", user_id="ana")
    assert hits[0].text == TEXT
    assert "Quito" in memory.recall("Quito", user_id="ana").text
    assert server.calls == before + 1
    encoder._resting_until = 0.0  # its rest is over
    assert SHORT <= seconds(lambda: memory.search("Quito", user_id="ana")) < 10 * SHORT
    assert server.calls == before + 2
    server.always = None
    memory.flush(user_id="ana")  # which has time, and finds it up again
    assert owed(memory) == 0
    before = server.calls
    memory.add("I have a dog.", user_id="ana")
    assert server.calls == before + 1
    assert owed(memory) == 0


@pytest.mark.parametrize("silence", [HANGS, DRIPS], ids=["hangs", "drips"])
def test_a_list_of_messages_waits_once(
    silence: Raw, memory: HyMem, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hymem.write.ingest.TURNS_PER_ENCODING", 2)
    server.always = silence
    said = [{"role": "user", "content": f"Number {number}."} for number in range(9)]
    assert seconds(lambda: memory.add(said, user_id="ana")) < 10 * SHORT
    assert owed(memory) == len(said)


def test_an_update_waits_no_longer(memory: HyMem, server: OpenAIServer) -> None:
    (turn,) = memory.add("My sister is Ola.", user_id="ana")
    server.always = HANGS
    assert seconds(lambda: memory.update(turn, "My sister is Ela.", user_id="ana")) < 10 * SHORT
    assert owed(memory) == 1
    assert memory.search("Ela", user_id="ana")[0].id == turn


def test_an_endpoint_that_refuses_at_once_is_asked_again_at_once(
    memory: HyMem, encoder: OpenAIEncoder, server: OpenAIServer
) -> None:
    server.always = Raw([b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"])
    memory.add(TEXT, user_id="ana")
    time.sleep(0.5)
    server.always = None
    memory.add("I have a dog.", user_id="ana")
    assert owed(memory) == 1


def test_work_that_nobody_waits_for_has_its_own_deadline(
    encoder: OpenAIEncoder, server: OpenAIServer
) -> None:
    server.always = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b" ", 10)
    patient = OpenAIEncoder("e", dim=DIM, base_url=server.url, deadline=2 * SHORT)
    with pytest.raises(EncoderError, match=rf"no reply within {2 * SHORT:g} s"):
        patient.encode(["tea"])
    with waits.somebody_waits(), pytest.raises(EncoderError, match="a moment ago"):
        patient.encode(["tea"])
