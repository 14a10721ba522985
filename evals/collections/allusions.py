"""Allusions: a message that rests on something said long ago and shares no word of content.

Evidence is a line of a real talk; the question is what the same speaker said four lines later,
which is taken out of the memory with all that followed. That it rests on the line is told by words
that go together in the corpus ("goalkeeper", "pitch"), counted, not by an encoder.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from evals.collections.base import (
    Memory,
    Question,
    alternating,
    content,
    dice,
    history,
    message_id,
    two_names,
)
from evals.collections.corpora import Talk

SESSIONS = 40
QUESTIONS = 12  # of one memory
MEMORIES = 40
LATER = 4  # lines from the evidence to the question; even, so that it is the same speaker's
KEPT = 2  # lines after the evidence that stay
LEAST_WORDS = 3  # of content, on either side
# Mean of the three strongest associations between words of both, in nats.
ASSOCIATED = 2.0
_STRONGEST = 3


@dataclass(frozen=True, slots=True)
class Allusion:
    """``talk``: the lines that stay; ``at``: which of them is the evidence."""

    talk: Sequence[str]
    at: int
    question: str


def allusions(corpus: Talk) -> Iterator[Memory]:
    talks = list(corpus.sure)
    dice("allusions").shuffle(talks)
    together = Association(talks)
    found = [one for talk in talks if (one := find(talk, together))]
    asked = {id(one.talk): one for one in found}
    others = [talk for talk in talks if id(talk) not in asked]
    for number in range(MEMORIES):
        chosen = found[number * QUESTIONS : (number + 1) * QUESTIONS]
        rest = SESSIONS - QUESTIONS
        quiet = others[number * rest : (number + 1) * rest]
        if len(chosen) < QUESTIONS or len(quiet) < rest:
            return
        yield _memory(number, chosen, quiet)


def find(talk: Sequence[str], together: Association) -> Allusion | None:
    """The best associated allusion in a talk of two whose lines alternate, if there is one."""
    best: tuple[float, Allusion] | None = None
    for at in range(len(talk) - LATER):
        said, later = content(talk[at]), content(talk[at + LATER])
        kept = talk[: at + KEPT + 1]
        if min(len(said), len(later)) < LEAST_WORDS or any(content(x) & later for x in kept):
            continue
        strength = together.of(said, later)
        if strength >= ASSOCIATED and (best is None or strength > best[0]):
            best = strength, Allusion(kept, at, talk[at + LATER])
    return best[1] if best else None


class Association:
    """How much more often than by chance two words stand in one talk, three lines apart at most."""

    def __init__(self, talks: Iterable[Sequence[str]], reach: int = 3, least: int = 4) -> None:
        self._single: Counter[str] = Counter()
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._least = least
        self._windows = 0
        for talk in talks:
            words = [content(line) for line in talk]
            for at, here in enumerate(words):
                self._windows += 1
                self._single.update(here)
                near = set().union(*words[at + 1 : at + 1 + reach]) if at + 1 < len(words) else ()
                self._pairs.update((a, b) if a < b else (b, a) for a in here for b in near)

    def of(self, one: set[str], other: set[str]) -> float:
        """Mean of the strongest pointwise mutual informations between words of both, in nats."""
        found = sorted((self._pair(a, b) for a in one for b in other if a != b), reverse=True)
        return sum(found[:_STRONGEST]) / _STRONGEST

    def _pair(self, a: str, b: str) -> float:
        count = self._pairs[(a, b) if a < b else (b, a)]
        if count < self._least:
            return 0.0
        return math.log(count * self._windows / (6 * self._single[a] * self._single[b]))


def _memory(number: int, chosen: Sequence[Allusion], quiet: Sequence[Sequence[str]]) -> Memory:
    name = f"allusions-{number}"
    roll = dice(name)
    order = roll.sample(range(SESSIONS), SESSIONS)
    lines: list[Sequence[str]] = [[] for _ in order]
    questions = []
    for place, one in zip(order, chosen, strict=False):
        lines[place] = one.talk
        questions.append(Question(f"{name}/{place}", one.question, (message_id(place, one.at),)))
    for place, talk in zip(order[len(chosen) :], quiet, strict=True):
        lines[place] = talk
    names = two_names(roll) if number % 2 else ("user", "assistant")
    sessions = [alternating(talk, names) for talk in lines]
    return Memory(history(name, sessions, roll), tuple(questions))
