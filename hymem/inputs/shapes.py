"""Chat messages in the shapes of other libraries, as plain mappings.

Taken by their fields alone, so that none of those libraries is imported: dicts, OpenAI's message
objects and the items of its Responses, LangChain's messages, and any pydantic model, dataclass or
other object with ``content`` and ``role`` (or LangChain's ``type``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any

from hymem.errors import InputError

FIELDS = ("role", "content", "name", "timestamp", "id", "session_id", "metadata")
# What LangChain calls a role. Pieces of a stream are chunks.
_ROLES = {
    "human": "user",
    "HumanMessageChunk": "user",
    "ai": "assistant",
    "AIMessageChunk": "assistant",
    "system": "system",
    "SystemMessageChunk": "system",
    "tool": "tool",
    "ToolMessageChunk": "tool",
    "function": "function",
    "FunctionMessageChunk": "function",
}
# What others call a role, in any case: LangChain, Gemini ("model").
_SAME_ROLE = {role: role for role in ("user", "assistant", "developer", *_ROLES.values())} | {
    "human": "user",
    "ai": "assistant",
    "model": "assistant",
}
# Kinds of content parts whose text was said; an image, a thought or a tool's call was not.
_SAID = (None, "text", "input_text", "output_text")


def as_mappings(messages: Any) -> list[Mapping[str, Any]]:
    """A string as one user message, one message as a list of one, any iterable as a list; each
    message as a mapping. Raises ``InputError``."""
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    if isinstance(messages, Mapping) or _is_message(messages):
        return [_as_mapping(messages, "messages")]
    if not isinstance(messages, Iterable) or isinstance(messages, bytes) or _is_record(messages):
        raise InputError(
            f"messages is {type(messages).__name__}; pass a string, a message (a dict or an object "
            "with role and content) or an iterable of messages"
        )
    return [_as_mapping(one, f"messages[{number}]") for number, one in enumerate(messages)]


def text_of(content: Any, where: str) -> str:
    """The text of a content field: a string, or the text parts of a list of parts, one a line.
    Other parts (an image, a thought, a refusal, a tool's call) are left out.

    Raises ``InputError``."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)):
        return "\n".join(text for part in content if (text := _part(part)))
    raise InputError(f"{where}.content is {type(content).__name__}; pass a string")


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    text = _field(part, "text")
    return text if isinstance(text, str) and _field(part, "type") in _SAID else ""


def _as_mapping(message: Any, where: str) -> Mapping[str, Any]:
    if isinstance(message, Mapping):
        fields = message
        told = fields.keys() & {"content", "tool_calls", "function_call"}
        if not told and fields.get("type") in (None, *_ROLES):
            raise InputError(f"{where} has no content; pass a dict with role and content")
    elif _is_message(message):
        fields = {name: getattr(message, name, None) for name in FIELDS}
    else:
        raise InputError(
            f"{where} is {type(message).__name__}; pass a dict, or an object, with role and content"
        )
    kind, role = _field(message, "type"), fields.get("role")
    if isinstance(role, str):
        return {**fields, "role": _SAME_ROLE.get(role.casefold(), role)}
    if role is not None or kind is None:
        return fields
    # Without a role: LangChain's, or an item of a Response that nobody said, such as a tool's call.
    silent = "tool" if not isinstance(fields.get("content"), str) else "user"
    return {**fields, "role": _ROLES.get(kind, silent)}


def _is_message(value: Any) -> bool:
    """Whether this is an object with a message's fields, or an item of a Response: a tool's call,
    say, which has no text."""
    if isinstance(value, type):
        return False
    return (hasattr(value, "content") and hasattr(value, "role")) or isinstance(
        getattr(value, "type", None), str
    )


def _is_record(value: Any) -> bool:
    """Pydantic's models can be iterated, but over their own fields."""
    return is_dataclass(value) or hasattr(type(value), "model_fields")


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
