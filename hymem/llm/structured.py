"""Replies that fit a schema: what to ask for, how to read it, and what to say when it does not fit.

Endpoints differ in what they enforce: a JSON schema, any JSON object, or nothing. Whatever they
promise, every reply is checked here, mended where only its wrapping is wrong, and otherwise asked
for again with the reason.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hymem.errors import LLMError, LLMOutputError
from hymem.inputs.messages import clean_text
from hymem.text.tokens import reported_count
from hymem.types import Completion

if TYPE_CHECKING:
    from pydantic import BaseModel

Messages = Sequence[Mapping[str, str]]
Finish = Literal["stop", "length", "refusal"]

# How often a model is told what was wrong with its reply before the call is given up.
CORRECTIONS = 2
# Enough of a bad reply for the model to see what it did; a runaway reply is not paid for twice.
QUOTED_CHARACTERS = 2000
# The longest reply that is read; no model writes half of it unless it runs away.
REPLY_CHARACTERS = 1_000_000
# Stray braces before the object are rare; a reply of nothing but braces must not take minutes.
OBJECTS_TRIED = 50
# How much of a reply is searched, in all, for objects that are not JSON as they stand.
MENDED_CHARACTERS = 50_000


@dataclass(frozen=True, slots=True)
class Reply:
    """One raw reply. ``finish`` is ``length`` when it was cut off. Token counts are ``None`` where
    the endpoint reported none."""

    text: str
    finish: Finish
    model: str
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None


def converse(
    send: Callable[[Messages], Reply], messages: Messages, schema: type[BaseModel] | None
) -> Completion:
    """Send until a usable reply comes back, at most ``1 + CORRECTIONS`` times. The token counts of
    the result cover all attempts.

    Raises ``LLMOutputError`` when no reply was usable, and whatever ``send`` raises; both carry
    what the attempts cost in ``spent``.
    """
    spent: Completion | None = None
    dialogue = list(messages)
    problem = ""
    for _ in range(1 + CORRECTIONS):
        try:
            reply = send(dialogue)
        except LLMError as error:
            error.spent = spent
            raise
        spent = _add(spent, reply, dialogue)
        try:
            value = read(reply, schema)
        except ValueError as error:
            problem = str(error)
            dialogue = [*messages, *_correction(reply, problem, schema)]
        else:
            return Completion(
                value,
                value if schema is None else reply.text,
                spent.model,
                spent.input_tokens,
                spent.output_tokens,
                spent.cached_tokens,
            )
    raise LLMOutputError(
        f"{reply.model} gave no usable reply in {1 + CORRECTIONS} attempts; the last one {problem}",
        spent,
        hint="no usable reply",
    )


def read(reply: Reply, schema: type[BaseModel] | None) -> Any:
    """The value of a reply: an instance of ``schema``, or the text. ``ValueError`` says what is
    wrong with it, in words that complete "the reply …"."""
    if reply.finish == "refusal":
        raise ValueError("was refused by the model")
    if reply.finish == "length":
        raise ValueError("was cut off at the length limit")
    if len(reply.text) > REPLY_CHARACTERS:
        raise ValueError(f"was longer than {REPLY_CHARACTERS} characters")
    text = _without_reasoning(reply.text)
    if not text:
        raise ValueError("was empty")
    return text if schema is None else parse(text, schema)


def parse(text: str, schema: type[BaseModel]) -> BaseModel:
    """The first JSON object in ``text`` that fits ``schema``. Wrapping (code fences, prose),
    trailing commas and Python literals are mended. ``ValueError`` if there is none."""
    from pydantic import ValidationError

    problem = "was not a JSON object"
    for value in _objects(text):
        try:
            return schema.model_validate(value)
        except ValidationError as error:
            problem = "did not fit the schema: " + "; ".join(
                f"{'.'.join(map(str, one['loc'])) or 'object'}: {one['msg']}"
                for one in error.errors(include_url=False)[:5]
            )
    raise ValueError(problem)


def with_schema(messages: Messages, schema: type[BaseModel]) -> list[Mapping[str, str]]:
    """The messages with the schema spelled out, for endpoints that do not enforce it."""
    return [*messages, {"role": "user", "content": _schema_text(schema)}]


def _schema_text(schema: type[BaseModel]) -> str:
    rules = json.dumps(schema.model_json_schema(), ensure_ascii=False)
    return f"Reply with one JSON object and nothing else. It must fit this JSON Schema:\n{rules}"


def _correction(
    reply: Reply, problem: str, schema: type[BaseModel] | None
) -> Iterator[Mapping[str, str]]:
    if reply.text.strip():
        yield {"role": "assistant", "content": reply.text[:QUOTED_CHARACTERS]}
    too_long = reply.finish == "length" or len(reply.text) > REPLY_CHARACTERS
    again = "Answer again, more briefly." if too_long else "Answer again."
    wanted = "" if schema is None else "\n" + _schema_text(schema)
    yield {"role": "user", "content": f"Your reply {problem}. {again}{wanted}"}


def _add(spent: Completion | None, reply: Reply, sent: Messages) -> Completion:
    into = reported_count(reply.input_tokens, [message["content"] for message in sent])
    out = reported_count(reply.output_tokens, [reply.text])
    if spent is None:
        spent = Completion(None, "", reply.model, 0, 0, 0)
    return Completion(
        None,
        spent.text + reply.text,
        reply.model,
        _sum(spent.input_tokens, into),
        _sum(spent.output_tokens, out),
        _sum(spent.cached_tokens, reply.cached_tokens),
    )


def _sum(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a + b


def _without_reasoning(text: str) -> str:
    """Local reasoning models think aloud in the reply itself."""
    return re.sub(r"\A\s*<think>.*?</think>", "", text, flags=re.DOTALL).strip()


def _objects(text: str) -> Iterator[Any]:
    """JSON objects in ``text``, from left to right. The time it takes is linear in the text."""
    start, left = text.find("{"), MENDED_CHARACTERS
    for _ in range(OBJECTS_TRIED):
        if start < 0:
            return
        value, end = _strict(text, start)
        if value is None:
            piece = text[start : start + left]
            end = _object_end(piece)
            left -= end or len(piece)
            value, end = _mended(piece[:end]), start + end
        if value is not None:
            yield value
        start = text.find("{", start + 1 if value is None else end)


def _strict(text: str, start: int) -> tuple[Any, int]:
    """The JSON object that begins at ``start`` and the index after it; ``None`` if none does."""
    try:
        value, end = json.JSONDecoder(strict=False).raw_decode(text, start)
        return clean_value(value), end
    except (ValueError, RecursionError):
        return None, 0


# Strings of either quote, and braces. Possessive, so that nothing is tried twice: a string that
# nobody closes costs one pass.
_TOKEN = re.compile(
    r""""(?:[^"\\]++|\\.)*+"?|'(?:[^'\\]++|\\.)*+'?|[{}]""",
    re.DOTALL,
)


def _object_end(text: str) -> int:
    """Index after the brace that closes the one which ``text`` begins with; 0 if none does."""
    depth = 0
    for match in _TOKEN.finditer(text):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.end()
    return 0


def _mended(text: str) -> dict[Any, Any] | None:
    """The object that was meant: trailing commas are left out, Python literals are read."""
    without_commas = re.sub(r",(\s*[}\]])", r"\1", text)
    for load, meant in (
        (json.JSONDecoder(strict=False).decode, without_commas),
        (ast.literal_eval, text),
    ):
        try:
            value = clean_value(load(meant))
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            continue
        return value if isinstance(value, dict) else None
    return None


def clean_value(value: Any) -> Any:
    """The value with no lone surrogate in its texts, which no file can hold."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, list):
        return [clean_value(one) for one in value]
    if isinstance(value, dict):
        return {key: clean_value(one) for key, one in value.items()}
    return value
