"""Long replies of an assistant, asked for by what the user had wanted (LongMemEval-S, development).

The user's own message is taken out of the memory and is the question; what must be found is the
reply, hundreds of words long, among the replies of other sessions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

from evals.collections.base import Memory, Question, dice
from evals.data.history import longmemeval_history
from evals.data.loaders import (
    LongMemEvalQuestion,
    is_development,
    open_longmemeval,
    stream_longmemeval,
)

MEMORIES = 40
QUESTIONS = 10  # of one memory
SESSIONS = 24
LEAST_WORDS, MOST_WORDS = 8, 60  # of what the user wanted
LONG_REPLY = 120  # words


def long_replies(data: Path | None = None) -> Iterator[Memory]:
    """Raises ``DataError``."""
    questions = stream_longmemeval(open_longmemeval("s", data))
    mine = (one for one in questions if is_development(one.id))
    # Every fifth haystack: neighbours in the file share sessions.
    return islice(from_haystacks(islice(mine, 1, None, 5)), MEMORIES)


def from_haystacks(questions: Iterable[LongMemEvalQuestion]) -> Iterator[Memory]:
    for haystack in questions:
        roll = dice("long replies", haystack.id)
        sessions = roll.sample(haystack.sessions, min(SESSIONS, len(haystack.sessions)))
        whole = longmemeval_history(replace(haystack, sessions=tuple(sessions)))
        asked = [
            (before, after)
            for before, after in pairwise(whole.messages)
            if before.session == after.session
            and (before.role, after.role) == ("user", "assistant")
            and LEAST_WORDS <= len(before.text.split()) <= MOST_WORDS
            and len(after.text.split()) >= LONG_REPLY
        ]
        asked = roll.sample(asked, min(QUESTIONS, len(asked)))
        hidden = {before.id for before, _ in asked}
        kept = tuple(message for message in whole.messages if message.id not in hidden)
        name = f"replies-{haystack.id}"
        yield Memory(
            replace(whole, id=name, messages=kept),
            tuple(
                Question(f"{name}/{number}", before.text, (after.id,))
                for number, (before, after) in enumerate(asked)
            ),
        )
