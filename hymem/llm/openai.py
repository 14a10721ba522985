"""Chat models at any endpoint that speaks the OpenAI protocol, through the official SDK."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

from hymem.errors import LLMError, LLMOutputError
from hymem.llm.connection import Connection, StatusError
from hymem.llm.protocol import (
    TOO_MUCH,
    UNKNOWN,
    OddReplyError,
    Piece,
    events,
    read_piece,
    read_reply,
)
from hymem.llm.streams import Arrivals, Closable
from hymem.llm.structured import REPLY_CHARACTERS, Finish, Messages, Reply, converse, with_schema
from hymem.types import Completion

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from pydantic import BaseModel

Format = Literal["json_schema", "json_object", "text"]
LADDER: tuple[Format, ...] = ("json_schema", "json_object", "text")

# A whole reply as bytes: its text in any script, escaped, and a little around it.
REPLY_BYTES = 8 * REPLY_CHARACTERS


class OpenAIChat:
    """A model behind the OpenAI protocol: OpenAI itself, vLLM, Ollama, llama.cpp and their like.

    ``base_url`` and ``api_key`` default to ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``.
    ``timeout``: seconds for one attempt, from connecting to the last byte; of a stream, to its
    beginning, and then for each wait. ``deadline``: seconds for a whole call with its retries,
    corrections and waits, or for a whole stream (default: five times ``timeout``). At most
    ``concurrency`` chats and questions are under way at once, and as many extractions; neither
    keeps the other waiting. ``temperature`` is left to the endpoint unless given (some models
    accept only their own).

    Structured output is asked for as a JSON schema, then as any JSON object, then in words: the
    first form that the endpoint accepts is kept for this object's life. Redirects are not followed.

    Raises ``InputError`` for numbers that cannot be.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 60.0,
        deadline: float | None = None,
        max_retries: int = 4,
        concurrency: int = 8,
        temperature: float | None = None,
    ) -> None:
        self._model = model
        self._connection = Connection(
            base_url,
            api_key,
            timeout=timeout,
            deadline=deadline,
            max_retries=max_retries,
            concurrency=concurrency,
            limit=REPLY_BYTES,
        )
        self._options = {} if temperature is None else {"temperature": temperature}
        self._format: Format | None = None
        self._stream_usage = True

    @property
    def model(self) -> str:
        return self._model

    @property
    def base_url(self) -> str:
        """Where the calls go; the price depends on it."""
        return self._connection.base_url

    def __repr__(self) -> str:
        return f"OpenAIChat({self._model!r})"

    def complete(
        self, messages: Sequence[Mapping[str, str]], schema: type[BaseModel] | None = None
    ) -> Completion:
        """One answer; see ``hymem.types.LLM``. A reply that is empty, cut off, refused or outside
        ``schema`` is asked for again with the reason, a bounded number of times.

        Raises ``LLMError`` and ``LLMOutputError``.
        """
        end = self._connection.end()
        return converse(lambda dialogue: self._send(dialogue, schema, end), messages, schema)

    def stream(self, messages: Sequence[Mapping[str, str]]) -> Iterator[str | Completion]:
        """Yield the reply's pieces as they come, then the whole as a ``Completion``.

        The reply is fetched as fast as it comes, so that a slow reader keeps no slot; one that
        closes or drops the iterator, from any thread, ends the request. A connection that fails
        before the first piece is tried again; one that drops later raises ``LLMError``, because the
        pieces already shown cannot be taken back. ``LLMOutputError`` when the reply is empty,
        refused or cut off at the length limit.
        """
        connection, body = self._connection, self._body(messages)

        def start(put: Callable[[Piece], None]) -> Any:
            return connection.start(lambda client: self._fetch(client, body, put), connection.end())

        arrivals: Arrivals[Piece] = Arrivals(start)
        return Closable(self._pieces(arrivals), arrivals)

    def _send(self, messages: Messages, schema: type[BaseModel] | None, end: float) -> Reply:
        if schema is None:
            return self._call(messages, {}, end)
        for form in LADDER if self._format is None else (self._format,):
            asked = messages if form == "json_schema" else with_schema(messages, schema)
            try:
                reply = self._call(asked, _response_format(form, schema), end)
            except StatusError as error:
                if error.status not in (400, 422):
                    raise
                refused = error
            else:
                self._format = form
                return reply
        raise refused

    def _call(self, messages: Messages, options: Mapping[str, Any], end: float) -> Reply:
        body = {**self._body(messages), **options}

        async def create(client: AsyncOpenAI) -> bytes:
            # The SDK's overloads cannot be matched by options that are only known at run time.
            send: Any = client.chat.completions.with_raw_response.create
            content: bytes = (await send(**body)).content
            return content

        content = self._connection.call(create, end)
        try:
            return read_reply(content, self._model)
        except OddReplyError as error:
            odd = error
        raise self._connection.failure(odd)

    def _body(self, messages: Messages) -> dict[str, Any]:
        return {"model": self._model, "messages": list(messages), **self._options}

    async def _fetch(
        self, client: AsyncOpenAI, body: Mapping[str, Any], put: Callable[[Piece], None]
    ) -> None:
        """``put`` the pieces of a streamed reply as they come."""
        import openai

        extra = {"stream_options": {"include_usage": True}} if self._stream_usage else {}
        try:
            await self._fetch_once(client, {**body, **extra}, put)
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            if not extra:
                raise
            self._stream_usage = False
            await self._fetch_once(client, body, put)

    async def _fetch_once(
        self, client: AsyncOpenAI, body: Mapping[str, Any], put: Callable[[Piece], None]
    ) -> None:
        create: Any = client.chat.completions.with_streaming_response.create
        characters = 0
        async with (
            create(**body, stream=True) as response,
            aclosing(events(response.iter_bytes())) as found,
        ):
            async for event in found:
                piece = read_piece(event)
                characters += len(piece.text)
                if characters > REPLY_CHARACTERS:
                    raise OddReplyError(TOO_MUCH)
                put(piece)

    def _pieces(self, arrivals: Iterator[Piece]) -> Generator[str | Completion, None, None]:
        said: list[str] = []
        finish: Finish | None = None
        tokens = UNKNOWN
        failure: LLMError | None = None
        try:
            for piece in arrivals:
                finish, tokens = piece.finish or finish, piece.tokens or tokens
                if piece.text:
                    said.append(piece.text)
                    yield piece.text
        except LLMError as error:
            failure = error
        text = "".join(said)
        done = Completion(text, text, self._model, *tokens)
        if failure is not None and not said:
            raise failure
        if failure is not None:
            raise LLMError(f"the reply broke off after {len(text)} characters: {failure}", done)
        if finish is None:
            raise LLMError("the reply broke off: the stream ended without its end mark", done)
        if finish != "stop":
            raise LLMOutputError(f"the reply was cut off by the endpoint ({finish})", done)
        if not said:
            raise LLMOutputError("the reply was empty", done)
        yield done


def _response_format(form: Format, schema: type[BaseModel]) -> dict[str, Any]:
    if form == "text":
        return {}
    if form == "json_object":
        return {"response_format": {"type": "json_object"}}
    rules = {"name": schema.__name__, "strict": True, "schema": schema.model_json_schema()}
    return {"response_format": {"type": "json_schema", "json_schema": rules}}
