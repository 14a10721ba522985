"""Embeddings of any endpoint that speaks the OpenAI protocol, through the official SDK."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hymem.encoders.unit_rows import unit_rows
from hymem.errors import EncoderError, LLMError
from hymem.llm.connection import Connection
from hymem.llm.protocol import OddReplyError, read_vectors
from hymem.llm.waits import RESTS, does_somebody_wait
from hymem.text.tokens import reported_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from openai import AsyncOpenAI

# OpenAI takes 300,000 tokens in one request; no script needs more than 1.4 tokens a character.
CHARACTERS_PER_CALL = 200_000
TEXTS_PER_CALL = 256
# What a number of a vector may take as JSON, and what may stand around the vectors.
NUMBER_BYTES = 32
REPLY_BYTES = 1_000_000

_DIMS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}


class OpenAIEncoder:
    """``Encoder`` on an embedding endpoint. Its calls are paid for, and counted as stage ``embed``.

    ``dim``: the vectors' length, needed for models that HyMem does not know. ``max_tokens``: longer
    texts get several vectors; the endpoint's own limit is usually higher, but a vector of half a
    page finds less. ``timeout``: seconds for one attempt. ``deadline``: seconds for a call, retries
    included. ``add``, ``search`` and ``recall`` wait for ``hymem.llm.waits.LONGEST_SECONDS`` at
    most, and after that for twice as long not at all: memories get their vectors later, and
    questions are matched by their words.

    Raises ``EncoderError`` when ``dim`` is neither given nor known.
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        dim: int | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        max_tokens: int = 512,
        timeout: float = 60.0,
        deadline: float = 120.0,
        max_retries: int = 4,
    ) -> None:
        known = dim or _DIMS.get(model)
        if known is None:
            raise EncoderError(f"pass dim, the length of the vectors of {model!r}")
        self.model = model
        self.dim = known
        self.max_tokens = max_tokens
        self._shorten = {"dimensions": known} if _DIMS.get(model, known) != known else {}
        self._connection = Connection(
            base_url,
            api_key,
            timeout=timeout,
            deadline=deadline,
            max_retries=max_retries,
            concurrency=None,
            limit=REPLY_BYTES + TEXTS_PER_CALL * known * NUMBER_BYTES,
        )
        # By ``time.monotonic``: until then nobody who waits is kept waiting by it.
        self._resting_until = 0.0

    @property
    def base_url(self) -> str:
        """Where the calls go; the price depends on it."""
        return self._connection.base_url

    @property
    def name(self) -> str:
        return f"openai/{self.model}"

    @property
    def version(self) -> str:
        """The host, the model and the length: all that a client can know of the weights."""
        return f"{urlsplit(self.base_url).hostname}/{self.model}/{self.dim}"

    def __repr__(self) -> str:
        return f"OpenAIEncoder({self.model!r}, dim={self.dim})"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``float32[len(texts), dim]``, unit rows. Raises ``EncoderError``."""
        return self.encode_counted(texts)[0]

    def encode_counted(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], int | None]:
        """As ``encode``, with the tokens that the endpoint charged, or ``None`` if it did not
        say."""
        vectors: list[Sequence[float]] = []
        tokens: int | None = 0
        for batch in _batches(texts):
            rows, told = self._call(batch)
            used = reported_count(told, batch)
            vectors += rows
            tokens = None if tokens is None or used is None else tokens + used
        return unit_rows(vectors, texts, self.dim), tokens

    def _call(self, texts: Sequence[str]) -> tuple[list[Any], int | None]:
        async def create(client: AsyncOpenAI) -> bytes:
            send: Any = client.embeddings.with_raw_response.create
            content: bytes = (await send(**body)).content
            return content

        body = {"model": self.model, "input": list(texts), **self._shorten}
        connection = self._connection
        end, began = connection.end(), time.monotonic()
        if does_somebody_wait() and began < self._resting_until:
            resting = "the endpoint did not answer a moment ago; it is not waited for now"
            raise _failure(resting, resting)
        try:
            content = connection.call(create, end)
            self._resting_until = 0.0
            return read_vectors(content, len(texts))
        except LLMError as error:
            failure = _failure(str(error), error.hint)
            if error.down:
                now = time.monotonic()
                self._resting_until = now + RESTS * (now - began)
        except OddReplyError as error:
            failure = _failure(str(connection.failure(error)))
        raise failure


def _failure(problem: str, hint: str = "") -> EncoderError:
    error = EncoderError(problem)
    error.hint = hint
    return error


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and (len(batch) == TEXTS_PER_CALL or characters + len(text) > CHARACTERS_PER_CALL):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch
