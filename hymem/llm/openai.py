"""Chat models at any endpoint that speaks the OpenAI protocol, through the official SDK.

The SDK retries 408, 409, 429, 5xx, time-outs and dropped connections with exponential back-off and
jitter, and waits as long as a ``Retry-After`` of up to two minutes says, in seconds or as a date.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from hymem.errors import LLMError, LLMOutputError
from hymem.llm.structured import Finish, Messages, Reply, converse, with_schema
from hymem.types import Completion

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types import CompletionUsage
    from openai.types.chat import ChatCompletion
    from pydantic import BaseModel

Format = Literal["json_schema", "json_object", "text"]
LADDER: tuple[Format, ...] = ("json_schema", "json_object", "text")

_FINISH: dict[str | None, Finish] = {"length": "length", "content_filter": "refusal"}


class OpenAIChat:
    """A model behind the OpenAI protocol: OpenAI itself, vLLM, Ollama, llama.cpp and their like.

    ``base_url`` and ``api_key`` default to ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY``. ``timeout``
    is in seconds, for one attempt. At most ``concurrency`` calls are under way at once.
    ``temperature`` is left to the endpoint unless given (some models accept only their own).

    Structured output is asked for as a JSON schema, then as any JSON object, then in words: the
    first form that the endpoint accepts is kept for this object's life.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 60.0,
        max_retries: int = 4,
        concurrency: int = 8,
        temperature: float | None = None,
    ) -> None:
        self._model = model
        self._connection = Connection(base_url, api_key, timeout, max_retries)
        self._slots = threading.BoundedSemaphore(concurrency)
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
        with self._slots:
            return converse(lambda dialogue: self._send(dialogue, schema), messages, schema)

    def stream(self, messages: Sequence[Mapping[str, str]]) -> Iterator[str | Completion]:
        """Yield the reply's pieces as they come, then the whole as a ``Completion``.

        A connection that fails before the first piece is tried again; one that drops later raises
        ``LLMError``, because the pieces already shown cannot be taken back. ``LLMOutputError`` when
        the reply is empty, refused or cut off at the length limit.
        """
        with self._slots:
            yield from self._stream(messages)

    def _send(self, messages: Messages, schema: type[BaseModel] | None) -> Reply:
        if schema is None:
            return self._call(messages, {})
        refused: Exception | None = None
        ladder = LADDER if self._format is None else (self._format,)
        for form in ladder:
            try:
                asked = messages if form == "json_schema" else with_schema(messages, schema)
                reply = self._call(asked, _response_format(form, schema))
            except _FormatRefusedError as error:
                refused = error
            else:
                self._format = form
                return reply
        raise LLMError(str(refused)) from refused

    def _call(self, messages: Messages, options: Mapping[str, Any]) -> Reply:
        import openai

        # The SDK's overloads cannot be matched by options that are only known at run time.
        create: Any = self._connection.client().chat.completions.create
        try:
            answer = create(model=self._model, messages=list(messages), **self._options, **options)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if options:
                raise _FormatRefusedError(self._connection.explain(error)) from None
            raise LLMError(self._connection.explain(error)) from None
        except openai.OpenAIError as error:
            raise LLMError(self._connection.explain(error), down=_is_down(error)) from None
        return _reply(answer, self._model)

    def _stream(self, messages: Messages) -> Iterator[str | Completion]:
        pieces: list[str] = []
        finish: str | None = None
        usage: CompletionUsage | None = None
        try:
            for chunk in self._open_stream(messages):
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    finish = choice.finish_reason or finish
                    if choice.delta.content:
                        pieces.append(choice.delta.content)
                        yield choice.delta.content
        except LLMError:
            raise
        except Exception as error:  # the SDK lets errors of its HTTP library through here
            raise LLMError(
                f"the reply broke off after {len(''.join(pieces))} characters: "
                f"{self._connection.explain(error)}",
                self._completion(pieces, usage),
            ) from None
        done = self._completion(pieces, usage)
        if finish is None:
            raise LLMError("the reply broke off: the stream ended without its end mark", done)
        if finish in _FINISH:
            raise LLMOutputError(f"the reply was cut off by the endpoint ({finish})", done)
        if not pieces:
            raise LLMOutputError("the reply was empty", done)
        yield done

    def _open_stream(self, messages: Messages) -> Any:
        import openai

        create: Any = self._connection.client().chat.completions.create
        while True:
            extra = {"stream_options": {"include_usage": True}} if self._stream_usage else {}
            try:
                return create(
                    model=self._model,
                    messages=list(messages),
                    stream=True,
                    **self._options,
                    **extra,
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                if not self._stream_usage:
                    raise LLMError(self._connection.explain(error)) from None
                self._stream_usage = False
            except openai.OpenAIError as error:
                raise LLMError(self._connection.explain(error), down=_is_down(error)) from None

    def _completion(self, pieces: Sequence[str], usage: CompletionUsage | None) -> Completion:
        text = "".join(pieces)
        return Completion(text, text, self._model, *_tokens(usage))


class Connection:
    """One lazily made SDK client, shared by threads; never shows its key."""

    def __init__(
        self, base_url: str | None, api_key: str | None, timeout: float, max_retries: int
    ) -> None:
        self._settings = {"base_url": base_url, "timeout": timeout, "max_retries": max_retries}
        self._api_key = api_key
        self._client: OpenAI | None = None
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        return str(self.client().base_url)

    def client(self) -> OpenAI:
        """The SDK client. Raises ``LLMError`` when OpenAI itself is meant and no key is known."""
        import os

        import openai

        with self._lock:
            if self._client is None:
                key = self._api_key or os.environ.get("OPENAI_API_KEY")
                other = self._settings["base_url"] or os.environ.get("OPENAI_BASE_URL")
                if not key and not other:
                    raise LLMError(
                        "no key for the OpenAI API: set OPENAI_API_KEY, or pass api_key, or "
                        "base_url for a local model",
                        down=True,
                    )
                # Local servers want no key, but the SDK wants one.
                self._client = openai.OpenAI(api_key=key or "none", **self._settings)  # type: ignore[arg-type]
                weakref.finalize(self, self._client.close)
            return self._client

    def explain(self, error: Exception) -> str:
        """The error in words, without the key, which some endpoints quote in part."""
        import openai

        if isinstance(error, openai.AuthenticationError):
            return "the endpoint refused the API key (401); check api_key or OPENAI_API_KEY"
        if isinstance(error, openai.APITimeoutError):
            return f"no reply within {self._settings['timeout']} s, retries included"
        if isinstance(error, openai.APIStatusError):
            return f"the endpoint answered {error.status_code}: {error.message}"[:500]
        cause = error.__cause__ or error
        host = urlsplit(self.base_url).netloc.rpartition("@")[2]  # before the @ may be a password
        return f"{type(error).__name__}: the connection to {host} failed: {cause}"[:500]


def _is_down(error: Exception) -> bool:
    """Whether the fault is the endpoint's, not the request's (too long, say)."""
    import openai

    return not isinstance(error, openai.APIStatusError) or error.status_code not in (400, 413, 422)


class _FormatRefusedError(Exception):
    """The endpoint rejects a request that names a ``response_format``."""


def _response_format(form: Format, schema: type[BaseModel]) -> dict[str, Any]:
    if form == "text":
        return {}
    if form == "json_object":
        return {"response_format": {"type": "json_object"}}
    rules = {"name": schema.__name__, "strict": True, "schema": schema.model_json_schema()}
    return {"response_format": {"type": "json_schema", "json_schema": rules}}


def _reply(answer: ChatCompletion, model: str) -> Reply:
    if not answer.choices:
        return Reply("", "stop", model, *_tokens(answer.usage))
    choice = answer.choices[0]
    finish = _FINISH.get(choice.finish_reason, "stop")
    if choice.message.refusal:
        finish = "refusal"
    return Reply(choice.message.content or "", finish, model, *_tokens(answer.usage))


def _tokens(usage: CompletionUsage | None) -> tuple[int | None, int | None, int | None]:
    if usage is None:
        return None, None, None
    details = usage.prompt_tokens_details
    cached = (details.cached_tokens if details else None) or 0
    return usage.prompt_tokens, usage.completion_tokens, cached
