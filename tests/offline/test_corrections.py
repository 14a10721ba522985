"""Of what was said first and what corrects it, the correction is answered."""

from __future__ import annotations

import pytest

from hymem import HyMem

PAIRS = [
    ("I live in Lyon.", "Sorry, I meant Rome. I live in Rome.", "Where does Ana live?", "Rome"),
    (
        "My phone number is 555-1234.",
        "Actually, my phone number is 555-9999.",
        "What is Ana's phone number?",
        "9999",
    ),
    ("I work at Google.", "Correction: I work at Apple.", "Where does Ana work?", "Apple"),
    ("My dog is called Rex.", "Oops, my dog is called Max.", "What is my dog called?", "Max"),
    (
        "My favourite colour is blue.",
        "My favourite colour is green.",
        "What is my favourite colour?",
        "green",
    ),
    (
        "My favourite colour is green.",
        "My favourite colour is blue.",
        "Which colour do I like most?",
        "blue",
    ),
    (
        "My birthday is on 3 May.",
        "Sorry, my birthday is on 5 May.",
        "When is my birthday?",
        "5 May",
    ),
    (
        "My sister lives in Oslo.",
        "My sister lives in Bergen.",
        "Where does my sister live?",
        "Bergen",
    ),
    ("My flight leaves at 9.", "My flight leaves at 11.", "When does my flight leave?", "11"),
    (
        "I am allergic to nuts.",
        "I am allergic to eggs, not nuts.",
        "What am I allergic to?",
        "eggs",
    ),
]


@pytest.mark.parametrize("minutes", [0, 1])
@pytest.mark.parametrize(("first", "then", "question", "answer"), PAIRS)
def test_what_was_said_last_holds(
    first: str, then: str, question: str, answer: str, minutes: int
) -> None:
    said = [
        {"role": "user", "name": "Ana", "content": text, "timestamp": f"2026-01-10T12:0{minute}"}
        for text, minute in ((first, 0), (then, minutes))
    ]
    with HyMem(":memory:", llm=None, background=False) as memory:
        memory.add(said, user_id="u")
        memory.flush(user_id="u")
        assert answer in memory.ask(question, user_id="u").text
        assert answer in memory.search(question, user_id="u")[0].text
