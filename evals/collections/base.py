"""The shape that every collection has, and what makes one: names, dates and a fixed dice."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from evals.data.history import History, Message
from hymem.text.words import terms

_START = datetime(2024, 1, 8, 18, 30)
_NAMES = """
    Ada Bea Cleo Dana Edith Frida Gina Hanna Ines Judith Kira Lena Mira Nora Olga Petra Rosa Sara
    Tilda Vera Abel Boris Carl David Emil Felix Georg Henry Ivan Jonas Karim Leon Marco Nils Omar
    Paul Quinn Robert Simon Theo
"""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a memory. ``evidence``: ids of the messages that a good answer rests on, at
    least one; ``group``: its kind within the collection."""

    id: str
    text: str
    evidence: tuple[str, ...]
    group: str = ""


@dataclass(frozen=True, slots=True)
class Memory:
    """One history and the questions on it."""

    history: History
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Collection:
    name: str
    memories: Iterable[Memory]


@dataclass(frozen=True, slots=True)
class Said:
    """A line of a session before it has an id."""

    speaker: str
    text: str
    role: str = "user"


def dice(*key: object) -> random.Random:
    """Random numbers that are the same on every run for one ``key``."""
    return random.Random(zlib.crc32(repr(key).encode()))


def two_names(roll: random.Random) -> tuple[str, str]:
    first, second = roll.sample(_NAMES.split(), 2)
    return first, second


def message_id(session: int, place: int) -> str:
    return f"{session}:{place}"


def history(name: str, sessions: Sequence[Sequence[Said]], roll: random.Random) -> History:
    """The sessions, some days apart, as one history; message ids are ``session:place``."""
    messages: list[Message] = []
    time = _START
    for number, session in enumerate(sessions):
        messages += (
            Message(
                message_id(number, place),
                str(number),
                said.role,
                said.speaker,
                said.text,
                time + timedelta(minutes=place),
            )
            for place, said in enumerate(session)
        )
        time += timedelta(days=roll.randint(1, 6), minutes=roll.randint(-90, 90))
    return History(name, time, tuple(messages))


def alternating(lines: Sequence[str], names: tuple[str, str]) -> list[Said]:
    """Lines of a talk between two, each the other's answer."""
    roles = ("user", "assistant")
    return [Said(names[at % 2], line, roles[at % 2]) for at, line in enumerate(lines)]


def content(text: str) -> set[str]:
    """Stems of the words of content."""
    return {term for term in terms(text) if len(term) > 1}


def batches(items: Sequence[Sequence[str]], size: int) -> Iterator[list[Sequence[str]]]:
    """Runs of ``size`` items; what is left over at the end is dropped."""
    for start in range(0, len(items) - size + 1, size):
        yield list(items[start : start + size])
