"""From an application's chat messages to clean records, or an error that says what to mend."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hymem.errors import InputError
from hymem.inputs.shapes import as_mappings, text_of
from hymem.system.clock import Clock, Time
from hymem.types import Message, MessageObject

Messages = str | Message | Mapping[str, Any] | MessageObject | Iterable[Any]

# Whoever reads them back may stand deep in a stack of calls.
METADATA_LEVELS = 32

# The application's own instructions are no part of the conversation.
_INSTRUCTIONS = {"system", "developer"}


@dataclass(frozen=True, slots=True)
class Said:
    """One validated message."""

    role: str
    speaker: str
    text: str
    time: datetime | None
    session_id: str
    source_id: str | None
    metadata: Mapping[str, Any] = field(default_factory=dict)


def parse_messages(
    messages: Messages,
    *,
    session_id: str | None = None,
    timestamp: Time | None = None,
    metadata: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
) -> list[Said]:
    """Validate ``messages``, in any shape that ``hymem.inputs.shapes`` knows; the keyword
    arguments are defaults for messages that lack their own.

    A plain string is one user message. Messages with no text (a tool call, say) and the
    application's system messages hold nothing to remember and are left out. A message with no time
    at all is said now. ``clock`` (default: the system's zone) reads the times.

    Raises ``InputError`` naming the message and the field.
    """
    clock = clock or Clock()
    default_time = clock.read_or_none(timestamp, "timestamp")
    if session_id is not None and not isinstance(session_id, str):
        raise InputError(f"session_id is {type(session_id).__name__}; pass a string")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise InputError(f"metadata is {type(metadata).__name__}; pass a dict")
    now = clock.now()
    said = []
    for number, message in enumerate(as_mappings(messages)):
        where = f"messages[{number}]"
        role = _text_field(message, "role", where, "user")
        text = clean_text(text_of(message.get("content"), where))
        if role in _INSTRUCTIONS or not text.strip():
            continue
        own_time = message.get("timestamp")
        time = clock.read_or_none(own_time, f"{where}.timestamp") or default_time
        said.append(
            Said(
                role=role,
                speaker=_text_field(message, "name", where, role),
                text=text,
                time=time or now,
                session_id=_text_field(message, "session_id", where, session_id or ""),
                source_id=_text_field(message, "id", where, "") or None,
                metadata=_metadata(metadata, message.get("metadata"), where),
            )
        )
    return said


def as_utc(time: datetime) -> datetime:
    """``time`` made comparable: a naive time is taken as UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def clean_text(text: str) -> str:
    """Lone surrogates, which no UTF-8 file can hold, become U+FFFD; all else is kept as it is."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def _text_field(message: Mapping[str, Any], name: str, where: str, default: str) -> str:
    value = message.get(name)
    if value is None:
        return clean_text(default)
    if not isinstance(value, str):
        raise InputError(f"{where}.{name} is {type(value).__name__}; pass a string")
    return clean_text(str.__str__(value))  # a plain one, where it is of an enumeration


def _metadata(shared: Mapping[str, Any] | None, own: Any, where: str) -> dict[str, Any]:
    if own is not None and not isinstance(own, Mapping):
        raise InputError(f"{where}.metadata is {type(own).__name__}; pass a dict")
    merged = {**(shared or {}), **(own or {})}
    if problem := metadata_problem(merged):
        raise InputError(f"{where}.metadata {problem}")
    return merged


def metadata_problem(metadata: Mapping[str, Any]) -> str | None:
    """Why ``metadata`` cannot be kept; ``None`` if it can."""
    if _is_deeper(metadata, METADATA_LEVELS):
        return f"is nested deeper than {METADATA_LEVELS} levels"
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        return f"cannot be written as JSON: {error}"
    return None


def _is_deeper(value: Any, levels: int) -> bool:
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return False
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in value)
