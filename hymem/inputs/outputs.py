"""What a model, a segmenter or an extractor returned, checked: they may be anybody's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from hymem.errors import HyMemError, LLMError, LLMOutputError
from hymem.inputs.messages import clean_text
from hymem.llm.structured import clean_value
from hymem.system.redact import guarded, secrets_of
from hymem.types import Completion, Statement

Ours = TypeVar("Ours", bound=HyMemError)


def checked_name(kind: type[Ours], client: Any) -> str:
    """The ``model`` of ``client``. Raises ``kind`` where it is no string."""
    who = type(client).__name__
    name = guarded(kind, who, lambda: client.model, lambda: secrets_of(client))
    if not isinstance(name, str):
        raise kind(f"{who}.model is {type(name).__name__}, not a string")
    return clean_text(name)


def checked_completion(done: Any, who: str, schema: type[Any] | None) -> Completion:
    """The reply of the model ``who``, with texts that can be stored and, with a ``schema``, a value
    that fits it. Raises ``LLMError``, or ``LLMOutputError``, which carries what was spent."""
    if not isinstance(done, Completion):
        raise LLMError(f"{who} returned {type(done).__name__}, not a Completion")
    spent = checked_spent(done, who)
    for name in ("text", "model"):
        if not isinstance(given := getattr(done, name), str):
            problem = f"a Completion whose {name} is {type(given).__name__}, not a string"
            raise LLMOutputError(f"{who} returned {problem}", spent)
    value = clean_value(done.value) if schema is None else _checked_value(done.value, schema)
    if schema is not None and value is None:
        kind = type(done.value).__name__
        is_one = isinstance(done.value, schema)
        problem = " with fields that do not fit" if is_one else f", not {schema.__name__}"
        raise LLMOutputError(f"{who} returned {kind}{problem}", spent)
    return replace(
        done,
        value=value,
        text=clean_text(done.text),
        model=clean_text(done.model),
    )


def checked_spent(spent: Any, who: str) -> Completion | None:
    """What a call of the model ``who`` cost, in a form that can be counted; ``None`` if nobody can
    tell."""
    if not isinstance(spent, Completion):
        return None
    text = spent.text if isinstance(spent.text, str) else ""
    model = clean_text(spent.model) if isinstance(spent.model, str) else who
    return replace(spent, text=text, model=model)


def _checked_value(value: Any, schema: type[Any]) -> Any | None:
    """``value``, an instance of ``schema`` with texts that can be stored; ``None`` if it is none,
    or not valid: pydantic makes unchecked ones too (``model_construct``)."""
    if not isinstance(value, schema):
        return None
    try:
        found = value.model_dump(by_alias=True, round_trip=True, warnings=False)
        cleaned = clean_value(found)
        valid = schema.model_validate(cleaned)
    except Exception:
        return None
    return value if cleaned == found else valid


def checked_ranges(ranges: Any, turns: int) -> list[tuple[int, int]]:
    """``ranges`` as half-open index ranges that cover so many turns in order. Raises
    ``ValueError``."""
    checked, covered, before = [], 0, 0
    for start, end in ranges:
        if not (before <= start <= covered < end <= turns):
            raise ValueError(f"the range {start!r} to {end!r} of {turns} turns is out of order")
        checked.append((int(start), int(end)))
        before, covered = start, end
    if covered != turns:
        raise ValueError(f"{turns - covered} of {turns} turns are in no range")
    return checked


def checked_statements(statements: Any, turns: int) -> list[Statement]:
    """``statements`` about an event of so many turns, with text that can be stored. Raises
    ``LLMOutputError``."""
    if not isinstance(statements, (list, tuple)):
        raise LLMOutputError(f"an event's statements are {type(statements).__name__}, not a list")
    return [_checked(statement, turns) for statement in statements]


def _checked(statement: Any, turns: int) -> Statement:
    if not isinstance(statement, Statement):
        raise LLMOutputError(f"a statement is {type(statement).__name__}, not a hymem.Statement")
    names = (statement.subject, statement.attribute)
    if not isinstance(statement.text, str) or not all(
        name is None or isinstance(name, str) for name in names
    ):
        raise LLMOutputError("a statement's text, subject or attribute is no string")
    if not (statement.time is None or isinstance(statement.time, datetime)):
        raise LLMOutputError(f"a statement's time is {type(statement.time).__name__}")
    if not _are_indices(statement.sources, turns):
        raise LLMOutputError(f"a statement's sources are no indices of its event's {turns} turns")
    return replace(statement, text=clean_text(statement.text))


def _are_indices(sources: Any, turns: int) -> bool:
    return isinstance(sources, Sequence) and all(
        isinstance(index, int) and 0 <= index < turns for index in sources
    )
