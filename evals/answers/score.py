"""Scores of recorded answers: text overlap by public definitions, and judges. Failures and
unjudged answers are counted apart, never scored as wrong."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import metrics
from evals.answers.costs import cost_table
from evals.answers.judge import JUDGE_VERSION, Verdict, judge_all
from evals.answers.records import Record, Run
from evals.data.loaders import DataError
from evals.data.tasks import Question, Task
from evals.results import Observation, Result, summarise

if TYPE_CHECKING:
    from hymem.cost.prices import Prices
    from hymem.types import LLM


def score_run(
    task: Task,
    run: Run,
    *,
    judge: LLM | None = None,
    prices: Prices | None = None,
    judge_runs: int = 1,
    concurrency: int = 8,
    full: Run | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Result:
    """Score one run.

    Raises ``DataError`` when the run was made on other data, or holds questions that the task does
    not have.
    """
    made_on = run.header["data"]
    if made_on["sha256"] != task.file.sha256:
        raise DataError(
            f"{run.path.name} was made on {made_on['name']} (sha256 {made_on['sha256'][:10]}), "
            f"this is {task.file.name} ({task.file.sha256[:10]}): give its data with --data or "
            "--variant"
        )
    questions = {question.id: question for _, items in task.items() for question in items}
    if strangers := [record for record in run.records if record not in questions]:
        raise DataError(
            f"{run.path.name} holds {len(strangers)} questions that {task.file.name} does not "
            f"have, {strangers[0]} for one: is it the same data?"
        )
    verdicts: list[Verdict] = []
    if judge is not None and prices is not None:
        path = verdict_path(run.path, judge.model)
        verdicts = judge_all(
            task.name,
            questions,
            run.answered,
            judge,
            prices,
            path,
            runs=judge_runs,
            concurrency=concurrency,
            advance=advance,
        )
    observations = [
        observe(task.name, run, questions[record.question], record, verdicts_of(verdicts, record))
        for record in run.answered
    ]
    configuration = {key: run.header[key] for key in ("system", "model", "settings")}
    if judge is not None:
        configuration |= {"judge": judge.model, "judge version": JUDGE_VERSION}
    result = Result("answers", task.version, task.file, configuration, summarise(observations))
    result.extra = {
        "answered": len(run.answered),
        "failed": {record.question: record.error for record in run.failed},
        "judges": judge_summary(verdicts),
        "costs": cost_table(run, accepted(verdicts), full),
        "measured": run.header["code"],
    }
    return result


def observe(
    task: str, run: Run, question: Question, record: Record, verdicts: Iterable[Verdict]
) -> Observation:
    """One answer's scores. LOCOMO's overlap metrics need a gold answer, so adversarial questions
    have the original F1 (which is a refusal check there) and the judges alone."""
    values: dict[tuple[str, int | None], float] = {}
    if task == "locomo":
        category = question.category or 0
        values["F1 (LOCOMO)", None] = metrics.locomo_f1(record.answer, question.answer, category)
    if question.answer and not question.abstention:
        values["set-F1", None] = metrics.set_f1(record.answer, question.answer)
        values["BLEU-1", None] = metrics.bleu1(record.answer, question.answer)
        values["ROUGE-L", None] = metrics.rouge_l(record.answer, question.answer)
    by_judge: dict[str, list[float]] = {}
    for verdict in verdicts:
        if verdict.right is not None:
            by_judge.setdefault(verdict.judge, []).append(float(verdict.right))
    for name, rights in by_judge.items():
        values[f"judge, {name}", None] = statistics.fmean(rights)
    overall = "1-4" if task == "locomo" else "all types"
    groups = (question.group,) if question.category == 5 else (overall, question.group)
    return Observation(run.header["system"], question.id, groups, values)


def verdict_path(records: Path, model: str) -> Path:
    """Where the judge's verdicts on a records file are kept; those by other rules stand apart."""
    safe = "".join(char if char.isalnum() or char in "-." else "_" for char in model)
    return records.with_suffix(f".judge{JUDGE_VERSION}-{safe}.jsonl")


def verdicts_of(verdicts: Iterable[Verdict], record: Record) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.question == record.question]


def accepted(verdicts: Iterable[Verdict]) -> set[str] | None:
    """Questions that the most lenient judge at hand accepted in most of its runs; ``None`` without
    verdicts."""
    rights: dict[str, list[bool]] = {}
    for verdict in verdicts:
        if verdict.judge != "strict" and verdict.right is not None:
            rights.setdefault(verdict.question, []).append(verdict.right)
    if not rights:
        return None
    return {question for question, said in rights.items() if sum(said) * 2 > len(said)}


def judge_summary(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """By judge: the mean of each run over its questions, their mean and standard deviation, how
    many answers stayed unjudged, and what judging cost."""
    grouped: dict[str, dict[int, list[Verdict]]] = {}
    for verdict in verdicts:
        grouped.setdefault(verdict.judge, {}).setdefault(verdict.run, []).append(verdict)
    summary = {}
    for name, runs in grouped.items():
        means = [
            statistics.fmean(said)
            for _, items in sorted(runs.items())
            if (said := [float(v.right) for v in items if v.right is not None])
        ]
        everything = [verdict for items in runs.values() for verdict in items]
        spent: list[Mapping[str, Any]] = [v.usage for v in everything if v.usage]
        dollars = [use["usd"] for use in spent]
        summary[name] = {
            "runs": means,
            "mean": statistics.fmean(means) if means else None,
            "sd": statistics.stdev(means) if len(means) > 1 else None,
            "unjudged": sum(verdict.right is None for verdict in everything),
            "usd": None if None in dollars else sum(dollars),
            "input_tokens": sum(use["input_tokens"] for use in spent),
        }
    return summary
