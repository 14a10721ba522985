"""Runs the demo: ingest the conversation, ask the questions, score the answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby

from hymem.demo.questions import DemoQuestion, conversation, questions
from hymem.memory import HyMem
from hymem.types import Answer, Message, Turn

USER = "demo"


@dataclass(frozen=True, slots=True)
class Result:
    """One question with HyMem's answer. ``cited``: the evidence's messages, best first."""

    question: DemoQuestion
    answer: Answer
    cited: tuple[Turn, ...]
    seconds: float

    @property
    def right(self) -> bool:
        """The answer and its evidence are both right."""
        cited = [turn.source_id or "" for turn in self.cited]
        answered = self.question.answered_by(self.answer.text, self.answer.found)
        return answered and self.question.supported_by(cited)


def ingest(memory: HyMem, progress: Callable[[int], None] = lambda added: None) -> None:
    """Add the conversation session by session; ``progress`` is told the messages of each."""

    def session(message: Message) -> str:
        return message["session_id"]

    for _, messages in groupby(conversation(), key=session):
        added = memory.add(list(messages), user_id=USER, wait=True)
        progress(len(added))


def ask_all(memory: HyMem) -> Iterator[Result]:
    """Ask the twelve questions of a memory that ``ingest`` filled."""
    for question in questions():
        start = time.perf_counter()
        answer = memory.ask(question.question, user_id=USER)
        yield Result(question, answer, _cited(memory, answer), time.perf_counter() - start)


def _cited(memory: HyMem, answer: Answer) -> tuple[Turn, ...]:
    ids = dict.fromkeys(id for hit in answer.evidence for id in hit.source_turns)
    items = [memory.get(id, user_id=USER) for id in ids]
    return tuple(item for item in items if isinstance(item, Turn))
