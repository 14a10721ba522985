"""The demo from end to end: the real store, the shipped encoder, no model."""

from __future__ import annotations

from pathlib import Path

import pytest

from hymem import HyMem
from hymem.demo import __main__ as demo
from hymem.demo.questions import DemoQuestion, conversation, questions
from hymem.demo.run import ask_all, ingest


def test_at_least_eleven_of_the_twelve_are_right_with_the_right_evidence(tmp_path: Path) -> None:
    added: list[int] = []
    with HyMem(tmp_path / "demo.db", llm=None) as memory:
        ingest(memory, added.append)
        results = list(ask_all(memory))
    assert sum(added) == len(conversation())
    assert [result.question.id for result in results] == [q.id for q in questions()]
    wrong = {r.question.id: r.answer.text for r in results if not r.right}
    assert len(wrong) <= 1, wrong
    assert all(result.answer.mode == "offline" for result in results)
    assert all(result.answer.usage.usd == 0 for result in results)


def test_the_command_shows_tier_evidence_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert demo.main() == 0
    shown = capsys.readouterr().out
    for question in questions():
        assert question.question in shown
    assert "tier" in shown
    assert "$0.00" in shown
    assert "s6-03 14 Jun 2025 Mara" in shown
    assert "of 12" in shown


QUESTION = DemoQuestion("q", "date", "When?", ("10 June 2025",), ("May",), ("a", "b"))
UNANSWERABLE = DemoQuestion("q", "unanswerable", "Who?", (), (), ())


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("10 June 2025", True),
        ("On Tuesday, 10 June 2025.", True),
        ("June 2025", False),
        ("10 May or 10 June 2025", False),
        ("", False),
    ],
)
def test_a_right_answer_holds_every_word_of_the_gold_and_nothing_rejected(
    text: str, right: bool
) -> None:
    assert QUESTION.answered_by(text, found=True) is right
    assert QUESTION.answered_by(text, found=False) is False


def test_right_evidence_is_complete_and_not_buried() -> None:
    assert QUESTION.supported_by(["x", "b", "a"])
    assert not QUESTION.supported_by(["a"])
    assert not QUESTION.supported_by(["a", "b", "c", "d", "e", "f"])


def test_where_there_is_no_answer_only_finding_none_is_right() -> None:
    assert UNANSWERABLE.answered_by("The memory does not say.", found=False)
    assert not UNANSWERABLE.answered_by("Nikos", found=True)
    assert UNANSWERABLE.supported_by([])
