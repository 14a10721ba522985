"""What a segmenter or an extractor returned, checked: they may be anybody's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from hymem.errors import LLMOutputError
from hymem.messages import clean_text
from hymem.types import Statement


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
