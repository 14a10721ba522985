"""Memories of other sizes: cut to a few turns around a question's evidence, or many in one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from evals.collections.base import Memory, Question, dice
from evals.data.history import History, Message

SIZES = (10, 30, 100, 300, 3_000, 10_000, 30_000)
# Every so manieth memory stays out of a merged one: its questions are foreign there.
HELD_OUT = 4
# Questions asked of a merged memory.
QUESTIONS = 150


def resized(memory: Memory, question: Question, turns: int) -> Memory:
    """The memory cut to ``turns`` turns in a row that hold a piece of the question's evidence."""
    messages = memory.history.messages
    at = next(i for i, message in enumerate(messages) if message.id in question.evidence)
    first = dice("resized", question.id, turns).randrange(at - turns + 1, at + 1)
    first = min(max(first, 0), len(messages) - turns)
    name = f"{memory.history.id}-{turns}-{at}"
    history = replace(memory.history, id=name, messages=messages[first : first + turns])
    return Memory(history, (question,))


def merged(
    memories: Mapping[str, Sequence[Memory]], turns: int, asking: Collection[str]
) -> tuple[Memory, list[Question], list[Question]] | None:
    """Memories of all collections in one of ``turns`` turns, with the questions of the collections
    ``asking`` on what is in it and on what is not; ``None`` where there are not as many turns."""
    every = [(name, memory) for name, part in memories.items() for memory in part]
    dice("merged", turns).shuffle(every)
    inside: list[Message] = []
    own: list[Question] = []
    foreign: list[Question] = []
    for number, (name, memory) in enumerate(every):
        asks = name in asking
        if number % HELD_OUT == 0 or len(inside) >= turns:
            foreign += memory.questions if asks else ()
            continue
        prefix = f"{number}-"
        inside += (
            replace(message, id=prefix + message.id, session=prefix + message.session)
            for message in memory.history.messages
        )
        kept = {message.id for message in inside[:turns]}
        for question in memory.questions if asks else ():
            evidence = tuple(prefix + item for item in question.evidence)
            if kept.issuperset(evidence):
                own.append(replace(question, id=prefix + question.id, evidence=evidence))
    if len(inside) < turns or not own or not foreign:
        return None
    inside = inside[:turns]
    roll = dice("merged questions", turns)
    own = roll.sample(own, min(len(own), QUESTIONS))
    foreign = roll.sample(foreign, min(len(foreign), QUESTIONS))
    history = History(f"merged-{turns}", max(item.time for item in inside), tuple(inside))
    return Memory(history, tuple(own)), own, foreign
