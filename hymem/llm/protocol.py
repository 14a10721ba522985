"""What an endpoint of the OpenAI protocol sends, read strictly: whatever is odd is told."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from hymem.inputs.messages import clean_text
from hymem.llm.structured import Finish, Reply
from hymem.text.tokens import reported_count

# One event of a stream; a piece of text has a few hundred bytes.
EVENT_BYTES = 1_000_000
# All events of a stream, of which most bytes are names of fields.
STREAM_BYTES = 64_000_000
# Enough of what is no reply to tell what it is.
_QUOTED = 80

TOO_MUCH = "more than a reply can be"

Tokens: TypeAlias = tuple[int | None, int | None, int | None]
UNKNOWN: Tokens = (None, None, None)

_FINISH: dict[str, Finish] = {"length": "length", "content_filter": "refusal"}


class OddReplyError(Exception):
    """No reply; the message completes "the endpoint sent …"."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event of a stream brings: text, the reason for its end, the tokens of the whole."""

    text: str
    finish: Finish | None
    tokens: Tokens | None


def read_object(body: bytes) -> Mapping[str, Any]:
    """The JSON object in ``body``."""
    try:
        value = json.loads(body.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise OddReplyError("bytes that are not UTF-8") from None
    except (ValueError, RecursionError):
        start = body.decode(errors="replace").strip()[:_QUOTED]
        raise OddReplyError(f"no JSON but {start!r}" if start else "nothing") from None
    if not isinstance(value, dict):
        raise OddReplyError(f"a {_kind(value)} instead of an object")
    return value


def read_reply(body: bytes, model: str) -> Reply:
    """The reply of a chat completion. No choice at all is an empty one."""
    answer = read_object(body)
    tokens = _tokens(answer.get("usage")) or UNKNOWN
    for choice in _choices(answer):
        message = choice.get("message")
        if not isinstance(message, dict):
            raise OddReplyError(f"a message that is {_kind(message)}")
        finish = _finish(choice) or "stop"
        if message.get("refusal"):
            finish = "refusal"
        return Reply(_text(message.get("content")), finish, model, *tokens)
    return Reply("", "stop", model, *tokens)


def read_piece(event: bytes) -> Piece:
    """What an event of a streamed chat completion brings."""
    chunk = read_object(event)
    text, finish = "", None
    for choice in _choices(chunk) if chunk.get("choices") is not None or "error" in chunk else ():
        delta = choice.get("delta")
        if delta is not None and not isinstance(delta, dict):
            raise OddReplyError(f"a piece that is {_kind(delta)}")
        text += _text((delta or {}).get("content"))
        finish = _finish(choice) or finish
    return Piece(text, finish, _tokens(chunk.get("usage")))


def read_vectors(body: bytes, count: int) -> tuple[list[Any], int | None]:
    """The embeddings of ``count`` texts in their order, each a sequence of whatever was sent, and
    the tokens charged."""
    answer = read_object(body)
    data = answer.get("data")
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        _raise_error(answer)
        raise OddReplyError(f"data that is {_kind(data)}, not a list of embeddings")
    if len(data) != count:
        raise OddReplyError(f"{len(data)} embeddings for {count} texts")
    vectors: dict[Any, Any] = {}
    for place, one in enumerate(data):
        index = one.get("index", place)
        if not isinstance(index, int) or not 0 <= index < count or index in vectors:
            raise OddReplyError(f"an embedding of text {str(index)[:_QUOTED]} of {count}")
        vectors[index] = _vector(one.get("embedding"))
    usage = answer.get("usage")
    tokens = reported_count(usage.get("prompt_tokens")) if isinstance(usage, dict) else None
    return [vectors[index] for index in range(count)], tokens


def _vector(value: Any) -> Any:
    """A list as it is; base64 holds ``float32``, little-endian."""
    import numpy as np

    if isinstance(value, str):
        try:
            return np.frombuffer(base64.b64decode(value, validate=True), "<f4")
        except ValueError:
            raise OddReplyError("an embedding that is a text") from None
    if not isinstance(value, list):
        raise OddReplyError(f"an embedding that is {_kind(value)}")
    return value


async def events(parts: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """The data of each server-sent event, up to the one that says ``[DONE]``."""
    data: list[bytes] = []
    async for line in _lines(parts):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            event = b"\n".join(data)
            data.clear()
            if event.startswith(b"[DONE]"):
                return
            yield event


async def _lines(parts: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Lines without their ends. One that nobody ends is not waited for: it is no event."""
    begun: list[bytes] = []
    pending = total = 0
    async for part in parts:
        total += len(part)
        *whole, rest = part.split(b"\n")
        for line in whole:
            yield b"".join([*begun, line]).removesuffix(b"\r")
            begun, pending = [], 0
        begun.append(rest)
        pending += len(rest)
        if pending > EVENT_BYTES or total > STREAM_BYTES:
            raise OddReplyError(TOO_MUCH)


def _choices(answer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    choices = answer.get("choices")
    if not choices:
        _raise_error(answer)
    if not isinstance(choices, list):
        raise OddReplyError(f"choices that are {_kind(choices)}")
    for choice in choices:
        if not isinstance(choice, dict):
            raise OddReplyError(f"a choice that is {_kind(choice)}")
        yield choice


def _raise_error(answer: Mapping[str, Any]) -> None:
    """Some send errors with status 200."""
    if error := answer.get("error"):
        words = error.get("message") if isinstance(error, dict) else error
        raise OddReplyError(f"an error: {words}")


def _text(content: Any) -> str:
    """Text, or the text of a list of parts, of which other kinds (thoughts, say) are left out."""
    if content is None:
        return ""
    if isinstance(content, str):
        return clean_text(content)
    if not isinstance(content, list):
        raise OddReplyError(f"content that is {_kind(content)}")
    texts = [part.get("text") for part in content if isinstance(part, dict)]
    return clean_text("".join(text for text in texts if isinstance(text, str)))


def _finish(choice: Mapping[str, Any]) -> Finish | None:
    reason = choice.get("finish_reason")
    return _FINISH.get(reason, "stop") if isinstance(reason, str) else None


def _tokens(usage: Any) -> Tokens | None:
    """(input, output, cached), each ``None`` if it cannot be; ``None`` if nothing is reported."""
    if not isinstance(usage, dict):
        return None
    details = usage.get("prompt_tokens_details")
    cached = reported_count(details.get("cached_tokens")) if isinstance(details, dict) else None
    sent = reported_count(usage.get("prompt_tokens"))
    return sent, reported_count(usage.get("completion_tokens")), cached or 0


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
