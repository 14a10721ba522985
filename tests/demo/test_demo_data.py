"""The demo's conversation and questions: well formed, and not answerable by matching words."""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import datetime
from importlib.resources import files
from typing import Any

import pytest
import Stemmer

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about after all also am an and any are as at be because been before being but by
        can could did do does doing done first for from get go got had has have having he
        her hers him his how i if in into is it its itself just like me mine more most
        much my myself no nor not now of off on once one only or other our out over own s
        same she should so some such t than that the their them then there these they this
        those to too up us very was we were what when where which while who whom whose why
        will with would you your yours
        """,
    )
)
CATEGORIES = ("single-hop", "multi-hop", "date", "order", "changed fact", "unanswerable")
STEMMER = Stemmer.Stemmer("english")


def load(name: str) -> list[dict[str, Any]]:
    value: list[dict[str, Any]] = json.loads(
        files("hymem.demo").joinpath(name).read_text(encoding="utf-8")
    )
    return value


def content_stems(text: str) -> set[str]:
    words = re.findall(r"[^\W\d_]+|\d+", text.lower())
    return set(STEMMER.stemWords([word for word in words if word not in STOP_WORDS]))


MESSAGES = load("conversation.json")
QUESTIONS = load("questions.json")
TEXTS = {message["id"]: message["content"] for message in MESSAGES}


def test_the_conversation_is_a_list_of_messages_in_time_order() -> None:
    assert 60 <= len(MESSAGES) <= 100
    assert len(TEXTS) == len(MESSAGES)
    assert {message["name"] for message in MESSAGES} == {"Mara", "Theo"}
    times = [datetime.fromisoformat(message["timestamp"]) for message in MESSAGES]
    assert times == sorted(times)
    assert (times[-1] - times[0]).days > 270
    assert len({message["session_id"] for message in MESSAGES}) >= 8


def test_there_are_two_questions_of_each_category() -> None:
    assert Counter(q["category"] for q in QUESTIONS) == dict.fromkeys(CATEGORIES, 2)
    for question in QUESTIONS:
        answerable = question["category"] != "unanswerable"
        assert bool(question["gold"]) == bool(question["evidence"]) == answerable
        assert set(question["evidence"]) <= TEXTS.keys()


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda q: q["id"])
def test_a_question_shares_at_most_one_content_word_with_all_its_evidence(
    question: dict[str, Any],
) -> None:
    evidence = " ".join(TEXTS[turn] for turn in question["evidence"])
    shared = content_stems(question["question"]) & content_stems(evidence)
    assert len(shared) <= 1, shared
