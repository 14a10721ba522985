"""What every system under test is given: messages, and where a data set has them, facts and
session summaries. One shape for LOCOMO and LongMemEval."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from evals.data.loaders import LocomoConversation, LongMemEvalQuestion


@dataclass(frozen=True, slots=True)
class Message:
    """A turn; ``id`` is unique in its history."""

    id: str
    session: str
    role: str
    speaker: str
    text: str
    time: datetime


@dataclass(frozen=True, slots=True)
class Fact:
    """A Level-1 unit that comes with the data; ``sources`` are message ids."""

    text: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    session: str
    text: str
    time: datetime


@dataclass(frozen=True, slots=True)
class History:
    """All that was said in one memory, in order of time. ``now`` is when its questions are asked,
    which is what "last week" in a question counts from."""

    id: str
    now: datetime
    messages: tuple[Message, ...]
    facts: tuple[Fact, ...] = ()
    summaries: tuple[Summary, ...] = ()


def locomo_history(conversation: LocomoConversation) -> History:
    """A LOCOMO conversation; message ids are its dialog ids, and its first speaker is the user."""
    messages = tuple(
        Message(
            turn.dia_id,
            f"session-{session.number}",
            "user" if turn.speaker == conversation.speakers[0] else "assistant",
            turn.speaker,
            turn.content,
            session.time,
        )
        for session in conversation.sessions
        for turn in session.turns
    )
    facts = tuple(Fact(item.text, item.sources) for item in conversation.observations)
    summaries = tuple(
        Summary(f"session-{session.number}", session.summary, session.time)
        for session in conversation.sessions
        if session.summary
    )
    now = max(session.time for session in conversation.sessions)
    return History(conversation.id, now, messages, facts, summaries)


def longmemeval_history(
    question: LongMemEvalQuestion, roles: Collection[str] = ("user", "assistant")
) -> History:
    """The haystack of one question, oldest session first; a message's id is its session's number
    in the haystack and its turn's in the session, because a haystack may hold a session twice."""
    order = sorted(range(len(question.sessions)), key=lambda i: question.sessions[i].time)
    messages = tuple(
        Message(
            f"{number}:{index}",
            str(number),
            turn.role,
            turn.role,
            turn.text,
            question.sessions[number].time,
        )
        for number in order
        for index, turn in enumerate(question.sessions[number].turns)
        if turn.role in roles and turn.text.strip()
    )
    return History(question.id, question.time, messages)
