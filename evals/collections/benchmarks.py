"""The development halves of LOCOMO and LongMemEval-S as collections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evals.collections.base import Memory, Question
from evals.data.history import locomo_history, longmemeval_history
from evals.data.loaders import (
    LongMemEvalQuestion,
    is_development,
    load_locomo,
    open_longmemeval,
    stream_longmemeval,
)


def locomo(data: Path | None = None) -> Iterator[Memory]:
    """Questions of categories 1-4 that have evidence. Raises ``DataError``."""
    for conversation in load_locomo(data).conversations:
        if is_development(conversation.id):
            yield Memory(
                locomo_history(conversation),
                tuple(
                    Question(item.id, item.text, item.evidence, item.category_name)
                    for item in conversation.questions
                    if item.category < 5 and item.evidence
                ),
            )


def longmemeval(data: Path | None = None) -> Iterator[Memory]:
    """Both sides' turns; evidence on either side counts; grouped by type. Raises ``DataError``."""
    for question in stream_longmemeval(open_longmemeval("s", data)):
        evidence = evidence_turns(question)
        if is_development(question.id) and not question.abstention and evidence:
            asked = Question(question.id, question.text, evidence, question.type)
            yield Memory(longmemeval_history(question), (asked,))


def evidence_turns(question: LongMemEvalQuestion) -> tuple[str, ...]:
    """Ids of the turns of either side that hold evidence, in the sessions that answer it."""
    return tuple(
        f"{number}:{index}"
        for number, session in enumerate(question.sessions)
        if session.id in question.answer_sessions
        for index, turn in enumerate(session.turns)
        if turn.has_answer and turn.text.strip()
    )
