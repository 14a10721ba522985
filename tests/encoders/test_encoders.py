"""Encoders other than the spiking one, against a real endpoint, LangChain and a local model."""

from __future__ import annotations

import asyncio
import traceback
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding
from openai_server import DIM, Fail, OpenAIServer

from hymem.cost.ledger import Ledger
from hymem.encoders.langchain import LangChainEncoder
from hymem.encoders.openai import OpenAIEncoder
from hymem.encoders.unit_rows import encode, unit_rows
from hymem.errors import BudgetError, EncoderError
from hymem.stores.sqlite import SQLiteStore
from hymem.types import Budget, Encoder, Scope


def openai_encoder(server: OpenAIServer, **options: object) -> OpenAIEncoder:
    return OpenAIEncoder("test-embedding", dim=DIM, base_url=server.url, max_retries=1, **options)  # type: ignore[arg-type]


def check(encoder: Encoder) -> None:
    """What the protocol promises."""
    rows = encoder.encode(["tea and cake", "a ship", "tea and cake"])
    assert rows.shape == (3, encoder.dim)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-6)
    assert encoder.encode([]).shape == (0, encoder.dim)
    assert encoder.max_tokens > 0
    assert encoder.name
    assert encoder.version


def test_openai(server: OpenAIServer) -> None:
    encoder = openai_encoder(server)
    check(encoder)
    assert encoder.version == f"127.0.0.1/test-embedding/{DIM}"


def test_openai_sends_many_texts_in_bounded_calls_and_keeps_their_order(
    server: OpenAIServer,
) -> None:
    texts = [f"text {number}" for number in range(600)]
    rows, tokens = openai_encoder(server).encode_counted(texts)
    assert server.calls == 3
    assert tokens == server.embedding_tokens == 1200
    np.testing.assert_allclose(rows[599], openai_encoder(server).encode(["text 599"])[0])


def test_openai_retries_then_says_why(server: OpenAIServer) -> None:
    server.script(Fail(503))
    check(openai_encoder(server))
    server.script(Fail(401))
    with pytest.raises(EncoderError, match="401"):
        openai_encoder(server).encode(["tea"])
    with pytest.raises(EncoderError, match="Connect"):
        OpenAIEncoder("m", dim=4, base_url="http://127.0.0.1:9/v1", max_retries=0).encode(["tea"])


def test_openai_wants_to_know_the_length(server: OpenAIServer) -> None:
    with pytest.raises(EncoderError, match="pass dim"):
        OpenAIEncoder("my-embedding", base_url=server.url)
    wrong = OpenAIEncoder("my-embedding", dim=DIM + 1, base_url=server.url)
    with pytest.raises(EncoderError, match=f"{DIM + 1} numbers each were expected"):
        wrong.encode(["tea"])


def test_openai_asks_for_shorter_vectors_only_where_that_is_possible(server: OpenAIServer) -> None:
    OpenAIEncoder("text-embedding-3-small", dim=DIM, base_url=server.url).encode(["tea"])
    openai_encoder(server).encode(["tea"])
    assert server.requests[0]["dimensions"] == DIM
    assert "dimensions" not in server.requests[1]


def test_paid_embeddings_are_in_the_ledger_and_under_the_caps(server: OpenAIServer) -> None:
    with SQLiteStore(":memory:", encoder_name="e", encoder_version="1", dim=DIM) as store:
        ledger = Ledger(store, {"test-embedding": (2.0, 0.0)})
        encoder = ledger.encoder(openai_encoder(server))
        check(encoder)
        with ledger.meter(Scope("ana"), Budget(tokens=10)).charging() as meter:
            encoder.encode(["tea and cake"])
            with pytest.raises(BudgetError):
                encoder.encode(["tea " * 10])
        assert meter.usage.by_stage["embed"].input_tokens == 3
        assert meter.usage.usd == pytest.approx(6e-6)
        (row,) = ledger.costs(by=("stage",))
        assert row["input_tokens"] == server.embedding_tokens


def test_local_encoders_are_not_metered() -> None:
    class Local:
        name, version, dim, max_tokens = "local", "1", 4, 10

        def encode(self, texts: object) -> np.ndarray:
            return np.ones((1, 4), np.float32) / 2

    with SQLiteStore(":memory:", encoder_name="e", encoder_version="1", dim=4) as store:
        local = Local()
        assert Ledger(store).encoder(local) is local


def test_langchain() -> None:
    encoder = LangChainEncoder(DeterministicFakeEmbedding(size=12), model="fake", dim=12)
    check(encoder)
    wrong = LangChainEncoder(DeterministicFakeEmbedding(size=12), model="fake", dim=8)
    with pytest.raises(EncoderError, match="12 numbers"):
        wrong.encode(["tea"])


@pytest.mark.parametrize("bad", [[[0.0, 0.0]], [[np.nan, 1.0]], [[1.0, 0.0], [0.0, 1.0]], [[1.0]]])
def test_rows_without_a_direction_or_text_are_refused(bad: list[list[float]]) -> None:
    with pytest.raises(EncoderError):
        unit_rows(bad, ["tea"], 2)


SECRET = "sk-very-secret-key-123456"


class Anything:
    """An encoder, or LangChain's embeddings, of somebody's own: raises or returns ``what``."""

    name, version, dim, max_tokens = "own", "1", 2, 10
    api_key = SECRET

    def __init__(self, what: Any) -> None:
        self._what = what

    def encode(self, texts: Any = None, **options: Any) -> Any:
        if isinstance(self._what, BaseException):
            raise self._what
        return self._what

    embed_documents = encode
    get_max_seq_length = encode
    state_dict = encode
    model_card_data = SimpleNamespace(base_model="own")


@pytest.mark.parametrize(
    "what",
    [
        None,
        7,
        "vectors",
        [],
        [[0.6, 0.8]],
        [[0.6, 0.8], [0.6]],
        [[0.6, 0.8], None],
        [[np.nan, 1.0], [0.6, 0.8]],
        {"a": 1},
        np.ones((2, 3)),
        np.ones((2, 2, 1)),
        ValueError("no"),
        RuntimeError(f"Bearer {SECRET}"),
        MemoryError("much"),
        StopIteration("over"),
        asyncio.CancelledError(SECRET),
        GeneratorExit(),
    ],
    ids=repr,
)
def test_an_encoder_may_raise_or_return_anything(what: Any) -> None:
    own = Anything(what)
    for call in (
        lambda: encode(own, ["tea", "cake"]),
        lambda: LangChainEncoder(own, model="own", dim=2).encode(["tea", "cake"]),  # type: ignore[arg-type]
    ):
        with pytest.raises(EncoderError) as caught:
            call()
        assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


def test_a_sentence_transformer_that_fails_is_told() -> None:
    from hymem.encoders.sentence_transformers import SentenceTransformersEncoder

    encoder = SentenceTransformersEncoder(Anything(RuntimeError("out of memory")))
    for call in (
        lambda: encoder.dim,
        lambda: encoder.max_tokens,
        lambda: encoder.version,
        lambda: encoder.encode(["tea"]),
    ):
        with pytest.raises(EncoderError, match="out of memory"):
            call()


def test_sentence_transformers() -> None:
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    from hymem.encoders.sentence_transformers import SentenceTransformersEncoder
    from snn_encoder.tokenizer import load_tokenizer

    def model() -> SentenceTransformer:
        static = StaticEmbedding(load_tokenizer(), embedding_dim=8)
        return SentenceTransformer(modules=[static], device="cpu")

    first = model()
    check(SentenceTransformersEncoder(first))
    same = SentenceTransformersEncoder(first).version
    assert SentenceTransformersEncoder(first).version == same
    assert SentenceTransformersEncoder(model()).version != same  # other weights
