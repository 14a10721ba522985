"""What people say to an application stands in no log, whatever fails."""

from __future__ import annotations

import logging
import re
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai_server import Fail, OpenAIServer, last_message
from test_ingest import ANA, ENCODER, EveryTurn, make

from hymem import HyMem
from hymem.encoders.openai import OpenAIEncoder
from hymem.errors import EncoderError, LLMOutputError, StoreError
from hymem.inputs.messages import parse_messages
from hymem.llm.openai import OpenAIChat
from hymem.stores.sqlite import SQLiteStore
from hymem.system.redact import brief, trace
from hymem.wiring import open_store
from hymem.write.segment import LLMSegmenter
from hymem.write.worker import Worker

SECRET = "zeppelin"
TEXT = f"My doctor says that the {SECRET} is back."


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    with open_store(tmp_path / "m.db", ENCODER) as store:
        yield store


@pytest.fixture(autouse=True)
def logs(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """All that is logged, which must not hold the secret."""
    caplog.set_level(logging.DEBUG, "hymem")
    # Requests stand in what the SDK and its HTTP library log for debugging.
    for other in ("openai", "httpx", "httpcore"):
        caplog.set_level(logging.WARNING, other)
    yield lambda: caplog.text
    assert SECRET not in caplog.text


class Fails:
    """Stands for any part; each of its methods raises an error that quotes what it was given."""

    name, version, dim = ENCODER.name, ENCODER.version, ENCODER.dim
    max_tokens = ENCODER.max_tokens

    def __init__(self, kind: type[Exception]) -> None:
        self.kind = kind

    def extract(self, events: Any) -> Any:
        raise self.kind(f"cannot read {events}")

    def segment(self, turns: Any, vectors: Any) -> Any:
        raise self.kind(f"cannot cut {turns}")

    def encode(self, texts: Any) -> np.ndarray:
        raise self.kind(f"cannot encode {texts}")


@pytest.mark.parametrize("kind", [ValueError, LLMOutputError, EncoderError, KeyError])
def test_a_part_that_quotes_what_it_was_given(
    store: SQLiteStore, logs: Callable[[], str], kind: type[Exception]
) -> None:
    ingestor = replace(make(store, Fails(kind)), segmenter=Fails(kind))
    ingestor.append(ANA, parse_messages(TEXT))
    ingestor.drain([ANA])
    # Where the memories are, the whole error is too, and goes with them.
    assert SECRET in str(store.status(ANA).last_error)
    assert re.search(rf"event \d+ could not be extracted: {kind.__name__} \(status", logs())
    assert f"segmenting by rules: {kind.__name__}" in logs()
    store.delete_all(ANA)
    assert store.status(ANA).last_error is None


@pytest.mark.parametrize("kind", [ValueError, EncoderError])
def test_an_encoder_that_quotes_what_it_was_given(
    tmp_path: Path, logs: Callable[[], str], kind: type[Exception]
) -> None:
    with HyMem(tmp_path / "e.db", encoder=Fails(kind), background=False) as memory:
        memory.add(TEXT, user_id="ana")
        assert memory.search(f"a {SECRET}", user_id="ana")[0].text == TEXT
        memory.flush(user_id="ana")
    assert "saved without vectors, to be embedded later: EncoderError" in logs()
    assert "searching by words alone: EncoderError" in logs()


def test_an_encoder_that_fails_on_one_text(store: SQLiteStore, logs: Callable[[], str]) -> None:
    class Picky(Fails):
        def encode(self, texts: Any) -> np.ndarray:
            if SECRET in str(texts):
                raise ValueError(f"cannot encode {texts}")
            return ENCODER.encode(texts)

    ingestor = make(store, EveryTurn(), Picky(ValueError))
    (turn,) = ingestor.append(ANA, parse_messages(TEXT))
    ingestor.embed_missing()
    assert f"the encoder fails on the memory {turn}: EncoderError: ValueError" in logs()


def test_a_part_that_breaks_the_worker_is_told_by_its_place(
    store: SQLiteStore, logs: Callable[[], str]
) -> None:
    class Exits(Fails):
        def segment(self, turns: Any, vectors: Any) -> Any:
            raise SystemExit(f"cannot cut {turns}")

    ingestor = replace(make(store, EveryTurn()), segmenter=Exits(ValueError))
    worker = Worker(ingestor)
    ingestor.append(ANA, parse_messages(TEXT))
    worker._attempt(ANA, lambda scope: ingestor.segment(scope, close=True))
    assert "a scope could not be worked on" in logs()
    assert re.search(r'File ".*test_logs.py", line \d+, in segment', logs())
    assert logs().rstrip().endswith("SystemExit")


@pytest.mark.parametrize("answer", ["echo", "echo as JSON", 400, 500])
def test_an_endpoint_that_echoes(
    server: OpenAIServer, tmp_path: Path, logs: Callable[[], str], answer: str | int
) -> None:
    def echo(body: Any) -> Any:
        if isinstance(answer, int):
            return Fail(answer, message=TEXT)
        return last_message(body) if answer == "echo" else f'{{"statements": "{TEXT}"}}'

    server.answer = echo
    llm = OpenAIChat("m", base_url=server.url, api_key="k", max_retries=0)
    encoder = OpenAIEncoder("e", dim=16, base_url=server.url, max_retries=0)
    with HyMem(
        tmp_path / "m.db",
        llm=llm,
        encoder=encoder,
        segmenter=LLMSegmenter(llm),
        background=False,
        prices={"m": (0, 0), "e": (0, 0)},
    ) as memory:
        if isinstance(answer, int):
            server.script(Fail(answer, message=TEXT))
        memory.add(TEXT, user_id="ana")
        memory.flush(user_id="ana")
        error = str(memory.status(user_id="ana").last_error)
    assert SECRET in error or "no usable reply" in error
    known = "no usable reply" if isinstance(answer, str) else f"the endpoint answered {answer}"
    assert re.search(rf"event \d+ could not be extracted: \w+: {known} \(", logs())
    assert ("saved without vectors" in logs()) == isinstance(answer, int)


def test_upkeep_that_fails_on_what_is_stored(
    store: SQLiteStore, logs: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of the store may quote a value that it cannot read."""

    def fail(*_: object) -> None:
        raise StoreError(f"the file holds {TEXT!r}")

    monkeypatch.setattr("hymem.stores.index.upkeep.SMALLEST", 1)
    monkeypatch.setattr("hymem.stores.index.upkeep.GATHER_SECONDS", 0.0)
    monkeypatch.setattr("hymem.stores.index.upkeep.wipe", fail)
    monkeypatch.setattr("hymem.stores.index.snapshot.write", fail)
    make(store, EveryTurn()).append(ANA, parse_messages(TEXT))
    store.candidates(ANA, None, "doctor", 5)
    store._indexes.upkeep.wipe_soon()
    end = time.monotonic() + 10
    while "put off" not in logs():
        assert time.monotonic() < end
        time.sleep(0.02)
    store.close()
    assert "work on the store is put off: StoreError\n" in logs()
    assert "the index of a scope was not saved: StoreError\n" in logs()


def test_what_sqlite_and_the_system_say_is_told_in_their_own_names() -> None:
    full = sqlite3.OperationalError(TEXT)
    full.sqlite_errorname = "SQLITE_FULL"
    ours = StoreError(TEXT)
    ours.__cause__ = full
    assert brief(ours) == "StoreError: SQLITE_FULL"
    assert brief(OSError(28, "No space left on device")) == "OSError: No space left on device"
    assert brief(ValueError(TEXT)) == "ValueError"
    assert trace(ValueError(TEXT)) == "ValueError"
