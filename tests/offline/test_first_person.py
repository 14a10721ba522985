"""What people ask about their own affairs, answered without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from hymem import Answer, HyMem

CHATS = json.loads(
    (Path(__file__).parents[1] / "data" / "first_person.json").read_text(encoding="utf-8")
)["chats"]


def answers(half: str) -> Iterator[tuple[Mapping[str, Any], Answer]]:
    for chat in CHATS:
        if chat["half"] != half:
            continue
        with HyMem(":memory:", llm=None, background=False) as memory:
            memory.add(
                [
                    {"role": role, "content": text, "timestamp": datetime.fromisoformat(time)}
                    for time, role, text in chat["messages"]
                ],
                user_id="me",
                wait=True,
            )
            now = datetime.fromisoformat(chat["now"])
            for question in chat["questions"]:
                yield question, memory.ask(question["ask"], user_id="me", now=now)


def is_right(question: Mapping[str, Any], answer: Answer) -> bool:
    if not question["right"]:
        return not answer.found
    return answer.found and has_any(answer, question["right"]) and not is_wrong(question, answer)


def is_wrong(question: Mapping[str, Any], answer: Answer) -> bool:
    """Another's, or of another kind: worse than to say that memory does not tell."""
    return answer.found and (not question["right"] or has_any(answer, question["wrong"]))


def has_any(answer: Answer, texts: list[str]) -> bool:
    return any(text.lower() in answer.text.lower() for text in texts)


@pytest.mark.parametrize(
    ("half", "least", "most"), [("dev", 0.95, 0.02), ("held", 0.9, 0.04), ("fresh", 0.8, 0.05)]
)
def test_answers_are_right_and_seldom_anothers(half: str, least: float, most: float) -> None:
    scored = [(is_right(q, a), is_wrong(q, a)) for q, a in answers(half)]
    assert len(scored) > 50
    assert sum(right for right, _ in scored) >= least * len(scored)
    assert sum(wrong for _, wrong in scored) <= most * len(scored)
