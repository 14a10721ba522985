"""Meetings: a query, and the stretch of talk that answers it among stretches of other queries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from evals.collections.base import Memory, Question, Said, dice, history, message_id

SESSIONS = 30
QUESTIONS = 12  # of one memory
MEMORIES = 30
LEAST_WORDS = 8  # of a turn that counts as evidence
MOST_EVIDENCE = 6  # turns: what a longer stretch says can be said of no single turn
_LABEL = re.compile(r"(?:^|(?<=[.?!,\"] ))((?:[A-Z][\w.'’-]*)(?: [A-Z(][\w.,'’()-]*){0,8}): ")


def meetings(pairs: Iterable[tuple[str, str]]) -> Iterator[Memory]:
    """``pairs``: query, and the turns of its stretch end to end, each begun by "Speaker: "."""
    stretches: list[tuple[str, list[Said]]] = []
    seen: set[str] = set()
    for query, text in pairs:
        said = turns(text)
        long = {line.text for line in said if len(line.text.split()) >= LEAST_WORDS}
        if 1 <= len(long) <= MOST_EVIDENCE and not long & seen:
            seen |= long
            stretches.append((query, said))
    for number in range(min(MEMORIES, len(stretches) // SESSIONS)):
        # Every so manieth: neighbours are of one meeting, and a query may mean several of them.
        yield _memory(number, stretches[number :: len(stretches) // SESSIONS][:SESSIONS])


def turns(text: str) -> list[Said]:
    """The turns of "Ana: Yes. Ben: No." A label is what stands at the start of a sentence, begins
    with a capital and ends in a colon."""
    _, *pieces = _LABEL.split(text)
    said = zip(pieces[0::2], pieces[1::2], strict=True)
    return [Said(speaker, words.strip()) for speaker, words in said if words.strip()]


def _memory(number: int, stretches: Sequence[tuple[str, Sequence[Said]]]) -> Memory:
    name = f"meetings-{number}"
    questions = tuple(
        Question(
            f"{name}/{session}",
            query,
            tuple(
                message_id(session, place)
                for place, line in enumerate(said)
                if len(line.text.split()) >= LEAST_WORDS
            ),
        )
        for session, (query, said) in enumerate(stretches[:QUESTIONS])
    )
    return Memory(history(name, [said for _, said in stretches], dice(name)), questions)
