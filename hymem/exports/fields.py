"""One line of an export, field by field: each is checked as it is taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from reprlib import Repr
from typing import Any, TypeVar

from hymem.errors import InputError
from hymem.inputs.messages import clean_text, metadata_problem
from hymem.system.clock import Clock
from hymem.types import Scope

T = TypeVar("T")

# The index keeps places and lengths in four bytes, ids in eight.
MOST = (1 << 31) - 1
_HIGHEST_ID = (1 << 63) - 1
# Of a value in an error, so much is shown.
_shown = Repr()
_shown.maxstring = _shown.maxother = 80


class Fields:
    """A record of a line. Every method raises ``InputError`` naming line and field."""

    def __init__(self, line: int, record: Any, clock: Clock) -> None:
        self.line = line
        self._clock = clock
        if not isinstance(record, Mapping):
            raise InputError(f"line {line} is {type(record).__name__}, not a record of an export")
        self._record = record

    def wrong(self, name: str, expected: str) -> InputError:
        held = _shown.repr(self._record[name]) if name in self._record else "missing"
        return InputError(f"line {self.line}: {name} is {held}; expected {expected}")

    def choice(self, name: str, choices: Sequence[str]) -> str:
        value = self._record.get(name)
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(name, f"one of {', '.join(choices)}")
        return value

    def text(self, name: str, *, blank: bool = True) -> str:
        value = self._record.get(name)
        if not isinstance(value, str) or not (blank or value.strip()):
            raise self.wrong(name, "a string" if blank else "a string that is not blank")
        return clean_text(value)

    def text_or_none(self, name: str) -> str | None:
        return None if self._record.get(name) is None else self.text(name)

    def whole(self, name: str, least: int, most: int) -> int:
        value = self._record.get(name)
        if not _is_whole(value, least, most):
            raise self.wrong(name, f"a whole number from {least} to {most}")
        return int(value)  # type: ignore[arg-type]

    def id(self, name: str) -> int:
        return self.whole(name, 1, _HIGHEST_ID)

    def id_or_none(self, name: str) -> int | None:
        return None if self._record.get(name) is None else self.id(name)

    def ids(self, name: str) -> tuple[int, ...]:
        value = self._record.get(name)
        if (
            not isinstance(value, list)
            or not value
            or not all(_is_whole(one, 1, _HIGHEST_ID) for one in value)
            or len(set(value)) < len(value)
        ):
            raise self.wrong(name, "a list of different ids, at least one")
        return tuple(value)

    def unique(self, name: str, value: T, lines: dict[T, int]) -> None:
        """``lines``: where each value was seen first."""
        if (before := lines.setdefault(value, self.line)) != self.line:
            raise self.wrong(name, f"one of its own; line {before} has this one")

    def moment(self, name: str) -> float:
        """Seconds since 1970 that a calendar knows."""
        value = self._record.get(name)
        try:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError
            datetime.fromtimestamp(value, UTC)
        except (ValueError, OverflowError, OSError):
            raise self.wrong(name, "seconds since 1970") from None
        return float(value)

    def time(self, name: str) -> datetime | None:
        """With the offset that is written, +00:00 too: the memory that wrote it had placed it."""
        value = self._record.get(name)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value)
            # 0.1 kept times without a zone.
            return moment if moment.tzinfo else self._clock.place(moment)
        except (TypeError, ValueError, OverflowError):
            raise self.wrong(name, "a time by ISO 8601, or null") from None

    def metadata(self, name: str) -> dict[str, Any]:
        value = self._record.get(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "an object")
        if problem := metadata_problem(value):
            raise self.wrong(name, f"what add takes, but it {problem}")
        return value

    def scope(self) -> Scope:
        for name in ("user_id", "agent_id"):
            if self.text_or_none(name) != self._record.get(name):
                raise self.wrong(name, "valid Unicode")
        return Scope(self._record.get("user_id"), self._record.get("agent_id"))


def _is_whole(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
