"""The judge and the costs: verdicts from a real server on loopback, tables by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai_server import Fail, OpenAIServer

from evals.answers import costs, judge, records, score
from evals.data.tasks import load_task


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


# -- the judge --


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("yes", True),
        ("No.", False),
        ("**Yes**", True),
        ("yes or no", None),
        ("maybe", None),
        ("", None),
    ],
)
def test_read_verdict(text: str, verdict: bool | None) -> None:
    assert judge.read_verdict(text) is verdict


def judged(server: OpenAIServer, locomo_file: Path, tmp_path: Path) -> Iterator[judge.Verdict]:
    from hymem.cost.prices import Prices
    from hymem.llm.openai import OpenAIChat

    task = load_task("locomo", locomo_file)
    questions = {question.id: question for _, items in task.items() for question in items}
    record = records.Record("conv-26/0", "4 single-hop", "Porto")
    llm = OpenAIChat("j", base_url=server.url, max_retries=0)
    path = tmp_path / "verdicts.jsonl"
    yield from judge.judge_all("locomo", questions, [record], llm, Prices(), path, concurrency=1)


def test_a_judge_that_will_not_say_is_asked_again_then_left(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path
) -> None:
    server.script("Perhaps.", "yes", "Hm.", "Well.", "Who knows?")
    lenient, strict = judged(server, locomo_file, tmp_path)
    assert (lenient.judge, lenient.right) == ("lenient", True)
    assert (strict.judge, strict.right) == ("strict", None)
    assert server.calls == 2 + judge.ATTEMPTS
    assert lenient.usage["calls"] == 2
    # the verdict that never came is asked for again, the other is kept
    server.script("no")
    kept, renewed = sorted(judged(server, locomo_file, tmp_path), key=lambda v: v.judge)
    assert (kept.right, renewed.right) == (True, False)
    path = next(tmp_path.glob("verdicts.jsonl"))
    with path.open("a") as stream:
        stream.write('{"question": "conv-')  # killed while writing
    calls = server.calls
    assert {v.right for v in judged(server, locomo_file, tmp_path)} == {True, False}
    assert server.calls == calls
    summary = score.judge_summary([lenient, strict])
    assert summary["strict"]["unjudged"] == 1
    assert summary["strict"]["mean"] is None


def test_a_judge_that_cannot_be_reached_leaves_the_answer_unjudged(
    server: OpenAIServer, locomo_file: Path, tmp_path: Path
) -> None:
    server.answer = lambda body: Fail(400, message="no such model")
    verdicts = list(judged(server, locomo_file, tmp_path))
    assert [verdict.right for verdict in verdicts] == [None, None]
    assert all("400" in (verdict.error or "") for verdict in verdicts)


def test_an_unjudged_answer_is_in_no_judges_score(locomo_file: Path) -> None:
    pytest.importorskip("nltk")
    pytest.importorskip("rouge_score")
    question = next(load_task("locomo", locomo_file).items())[1][0]
    record = records.Record(question.id, question.group, "Porto")
    said = [("lenient", None), ("strict", True), ("strict", None)]
    verdicts = [
        judge.Verdict(question.id, name, run, right, "Porto", {})
        for run, (name, right) in enumerate(said)
    ]
    run = records.Run(Path("run.jsonl"), {"system": "x"}, {}, {})
    values = score.observe("locomo", run, question, record, verdicts).values
    assert values["judge, strict", None] == 1.0
    assert ("judge, lenient", None) not in values


def test_each_longmemeval_type_has_its_rule(longmemeval_file: Path) -> None:
    task = load_task("longmemeval", longmemeval_file)
    rules = {q.id: judge.rules_for("longmemeval", q)["longmemeval"] for _, (q,) in task.items()}
    assert "latest state" in rules["q1"]
    assert "missing or incomplete" in rules["q3_abs"]
    assert len(set(rules.values())) == 3


# -- costs --


def usage(tokens: int, usd: float | None) -> dict[str, dict[str, Any]]:
    spent = {"calls": 1, "input_tokens": tokens, "output_tokens": 1, "cached_tokens": 0}
    return {"answer": {**spent, "usd": usd, "seconds": 1.0, "estimated": False}}


def costed(*items: records.Record) -> records.Run:
    return records.Run(Path("full.jsonl"), {}, {item.question: item for item in items}, {})


def test_cost_table_by_hand() -> None:
    a = records.Record("a", "g", "x", tier="light", usage=usage(100, 0.1), full_tokens=1000)
    b = records.Record("b", "g", "x", tier="deep", usage=usage(300, 0.3), full_tokens=1000)
    failed = records.Record("c", "g", "", error="LLMError: gone")
    table = costs.cost_table(costed(a, b, failed), correct={"b"})
    assert (table["questions"], table["failed"]) == (2, 1)
    assert table["per question"]["input_tokens"]["value"] == 200
    assert table["per question"]["input_tokens"]["margin95"] == pytest.approx(1.96 * 100)
    assert table["per tier"]["deep"]["usd"]["value"] == 0.3
    assert table["per correct answer"] == {"usd": pytest.approx(0.4), "input_tokens": 400}
    assert table["saving"]["share"] == pytest.approx(1 - 400 / 2000)
    full = costed(records.Record("a", "g", "x", usage=usage(2000, 1.0)))
    saved = costs.cost_table(costed(a, b), None, full)["saving"]
    assert (saved["share"], saved["n"]) == (pytest.approx(0.95), 1)


def test_an_unknown_price_is_never_nought() -> None:
    a = records.Record("a", "g", "x", usage=usage(100, None))
    table = costs.cost_table(costed(a), {"a"})
    assert table["per question"]["usd"] is None
    assert table["total"]["usd"] is None
    assert table["per correct answer"]["usd"] is None
