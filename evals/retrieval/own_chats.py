"""Your own chats as a benchmark: cloze questions with known source turns, made from your own store.

A question is a few words around a gap of one sentence that was said; the turn that it comes from is
its evidence. Nothing leaves the machine, and nothing is written into the store.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from evals import metrics
from evals.data.files import DataError
from evals.data.history import History, Message
from evals.results import Observation, Row, row_of
from evals.systems.hymem import System

if TYPE_CHECKING:
    from hymem.types import Turn

GAP = "___"
WINDOW = 8  # words left of a sentence, the gap included
MIN_WORDS = 6
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]?")
_WORD = re.compile(r"\w[\w'’-]*")


@dataclass(frozen=True, slots=True)
class Cloze:
    """``text`` has a gap where ``answer`` stood in message ``source``."""

    id: str
    text: str
    answer: str
    source: str


def read_history(store: Path, user_id: str | None = None, agent_id: str | None = None) -> History:
    """The turns of one scope of a HyMem database, read from a copy.

    Raises ``DataError`` when there is no such file or the scope is empty, ``HyMemError`` when the
    file cannot be opened.
    """
    import sqlite3
    import tempfile

    from hymem import Filter, HyMem

    if not store.is_file():
        raise DataError(f"{store.name} does not exist: give the path of a HyMem database")
    with tempfile.TemporaryDirectory(prefix="hymem-eval-") as folder:
        copy = Path(folder) / "copy.db"
        try:
            with sqlite3.connect(store) as source, sqlite3.connect(copy) as target:
                source.backup(target)
        except sqlite3.DatabaseError as error:
            raise DataError(f"{store.name} is no readable database: {error}") from error
        with HyMem(copy, llm=None, background=False) as memory:
            turns = memory.get_all(user_id=user_id, agent_id=agent_id, where=Filter(kind="turn"))
    if not turns:
        raise DataError("this scope holds no turns: name it with --user and --agent")
    return as_history(turns)  # type: ignore[arg-type]


def as_history(turns: Sequence[Turn]) -> History:
    """Turns as a history; an unknown time is that of the turn before."""
    messages: list[Message] = []
    time = datetime(1970, 1, 1, tzinfo=UTC)
    for turn in turns:
        time = turn.time or time
        messages.append(
            Message(str(turn.id), turn.session_id, turn.role, turn.speaker, turn.text, time)
        )
    return History("mine", time, tuple(messages))


def make_clozes(history: History, count: int) -> list[Cloze]:
    """At most ``count`` questions, one a message, spread evenly over the history.

    The gap is the sentence's rarest word of this history; the second rarest is left out too, so
    that no single word gives the source away.
    """
    frequency = Counter(
        word
        for message in history.messages
        for word in {found.lower() for found in _WORD.findall(message.text)}
    )
    made = [
        cloze for message in history.messages if (cloze := _cloze(message, frequency)) is not None
    ]
    step = max(len(made) / count, 1.0) if count else 1.0
    return [made[int(index * step)] for index in range(min(count, len(made)))]


def _cloze(message: Message, frequency: Counter[str]) -> Cloze | None:
    sentences = [
        words
        for sentence in _SENTENCE.findall(message.text)
        if len(words := _WORD.findall(sentence)) >= MIN_WORDS
    ]
    if not sentences:
        return None
    # The same sentence every time, without favouring the first.
    words = sentences[_number(message.text) % len(sentences)]
    by_rarity = sorted(
        (place for place, word in enumerate(words) if len(word) > 3 or word.isdigit()),
        key=lambda place: (frequency[words[place].lower()], place),
    )
    if len(by_rarity) < 2:
        return None
    gap, dropped = by_rarity[:2]
    start = max(0, min(gap - WINDOW // 2, len(words) - WINDOW))
    shown = [
        GAP if place == gap else word
        for place, word in enumerate(words)
        if start <= place < start + WINDOW and place != dropped
    ]
    text = f"{message.speaker}: {' '.join(shown)}"
    return Cloze(f"{message.id}", text, words[gap], message.id)


def _number(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4])


def evaluate(
    system: System,
    history: History,
    clozes: Sequence[Cloze],
    advance: Callable[[], object] = lambda: None,
) -> Iterator[Observation]:
    """Whether each question's source stands verbatim in the context, at each budget."""
    memory = system.load(history)
    try:
        for cloze in clozes:
            values: dict[tuple[str, int | None], float] = {}
            for budget in metrics.BUDGETS:
                recalled = memory.recall(cloze.text, budget)
                values["verbatim recall", budget] = float(cloze.source in recalled.messages)
            yield Observation(system.name, cloze.id, ("own chats",), values)
            advance()
    finally:
        memory.close()


def summarise(observations: Sequence[Observation]) -> list[Row]:
    """Means per system and budget; there are no halves here."""
    samples: dict[tuple[str, str, int | None], list[float]] = {}
    for item in observations:
        for (metric, budget), value in item.values.items():
            samples.setdefault((item.system, metric, budget), []).append(value)
    return [
        row_of(system, "all", "own chats", metric, metrics.mean(values), budget)
        for (system, metric, budget), values in samples.items()
    ]
