"""The demo's data, and when an answer to one of its questions counts as right."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from hymem.text.words import fold
from hymem.types import Message

# Evidence is wrong when the right turns are buried among others.
MOST_EVIDENCE = 5


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """``gold`` lists accepted answers (none: the conversation does not tell), ``reject`` what a
    right answer never says, ``evidence`` the ids of the messages that hold the answer."""

    id: str
    category: str
    question: str
    gold: tuple[str, ...]
    reject: tuple[str, ...]
    evidence: tuple[str, ...]

    def answered_by(self, text: str, found: bool) -> bool:
        """Whether ``text`` is right: it contains every word of an accepted answer and nothing that
        is rejected; where there is no answer, whether none was ``found``."""
        if not self.gold:
            return not found
        said = _words(text)
        accepted = any(_words(gold) <= said for gold in self.gold)
        return found and accepted and not any(_words(bad) <= said for bad in self.reject)

    def supported_by(self, cited: Collection[str]) -> bool:
        """Whether all the right messages are among those cited, and the cited ones are few."""
        return not self.gold or (set(self.evidence) <= set(cited) and len(cited) <= MOST_EVIDENCE)


def conversation() -> list[Message]:
    """The bundled conversation, as messages for ``HyMem.add``."""
    messages: list[Message] = _load("conversation.json")
    return messages


def questions() -> list[DemoQuestion]:
    """The twelve questions, in order."""
    return [_question(row) for row in _load("questions.json")]


def _question(row: Mapping[str, Any]) -> DemoQuestion:
    return DemoQuestion(
        id=row["id"],
        category=row["category"],
        question=row["question"],
        gold=tuple(row["gold"]),
        reject=tuple(row["reject"]),
        evidence=tuple(row["evidence"]),
    )


def _load(name: str) -> Any:
    return json.loads(files("hymem.demo").joinpath(name).read_text(encoding="utf-8"))


def _words(text: str) -> set[str]:
    """Words without case, accents and the plural's s."""
    return {word.removesuffix("s") for word in re.findall(r"\w+", fold(text))}
