"""Language models as judges: yes or no, lenient and strict, and LongMemEval's by question type.

The prompts are our own wording of the field's rules. Judges run at temperature 0, several times
where money allows; a judge that says neither yes nor no is asked again, then the answer is left
unjudged and counted so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.answers.answerers import call_usage
from evals.answers.records import Record, end_last_line
from evals.data.tasks import Question

if TYPE_CHECKING:
    from hymem.cost.prices import Prices
    from hymem.types import LLM

JUDGE_VERSION = 1
ATTEMPTS = 3

_FORM = "Reply with one word: yes or no."
_ROLE = f"You grade an answer to a question about past conversations. {_FORM}"

LENIENT = (
    "Say yes if the answer means the same as the reference or contains it, even if it is longer, "
    "worded otherwise, or gives a date in another form; also if it names the same thing less "
    "precisely. Say no if it is about something else, or says that it does not know."
)
STRICT = (
    "Say yes only if the answer states everything that the reference states, and nothing that "
    "contradicts it. A vague answer that merely is on the topic, a part of a list, a neighbouring "
    "date, or a hedge between several possibilities is a no."
)
ADVERSARIAL = (
    "The question takes something for granted that the conversations do not hold. Say yes if the "
    "answer says so, or that the information is missing; say no if it answers all the same."
)
_TYPES = {
    "temporal-reasoning": (
        "Say yes if the answer gives the reference or something equivalent. Counts of days, weeks "
        "or months that are off by one are still right. A part of the reference alone is a no."
    ),
    "knowledge-update": (
        "The fact asked for has changed, and the reference is its latest state. Say yes if the "
        "answer gives that state, even if it also tells the earlier one; no if it gives only the "
        "earlier one."
    ),
    "single-session-preference": (
        "The reference describes what a fitting answer to this user takes into account. Say yes if "
        "the answer uses what is known of the user rightly; it need not meet every point."
    ),
}
_DEFAULT_TYPE = (
    "Say yes if the answer gives the reference or something equivalent, or holds all the steps "
    "that lead to it. A part of the reference alone is a no."
)
_ABSTENTION = (
    "The question cannot be answered from the conversations; the reference explains why. Say yes "
    "if the answer recognises that the information is missing or incomplete; no if it answers."
)
_AGAIN = "That was neither yes nor no. " + _FORM


@dataclass(frozen=True, slots=True)
class Verdict:
    """``right`` is ``None`` when the judge never said yes or no, or could not be reached."""

    question: str
    judge: str
    run: int
    right: bool | None
    answer: str
    usage: Mapping[str, Any]
    error: str | None = None


def rules_for(task: str, question: Question) -> dict[str, str]:
    """Judge name → its rule, for one question."""
    if task == "locomo":
        if question.abstention:
            return {"lenient": ADVERSARIAL, "strict": ADVERSARIAL}
        return {"lenient": LENIENT, "strict": STRICT}
    rule = _ABSTENTION if question.abstention else _TYPES.get(question.group, _DEFAULT_TYPE)
    return {"longmemeval": rule}


def judge_messages(rule: str, question: Question, answer: str) -> list[dict[str, str]]:
    reference = question.answer or "(not in the conversations)"
    body = f"Question: {question.text}\nReference: {reference}\nAnswer: {answer}\n\n{rule} {_FORM}"
    return [{"role": "system", "content": _ROLE}, {"role": "user", "content": body}]


def read_verdict(reply: str) -> bool | None:
    """The one of yes and no that the reply says; ``None`` for neither, or both."""
    said = set(re.findall(r"\b(yes|no)\b", reply.lower()))
    return None if len(said) != 1 else said == {"yes"}


def ask_judge(
    llm: LLM, prices: Prices, rule: str, question: Question, answer: str
) -> tuple[bool | None, list[dict[str, Any]], str | None]:
    """The verdict, the usage of every attempt, and the error that prevented one, if any."""
    from hymem.errors import LLMError

    messages = judge_messages(rule, question, answer)
    spent: list[dict[str, Any]] = []
    for _ in range(ATTEMPTS):
        try:
            done = llm.complete(messages)
        except LLMError as error:
            return None, spent, f"{type(error).__name__}: {error}"
        spent.append(call_usage(prices, llm, done, messages, 0.0))
        right = read_verdict(done.text)
        if right is not None:
            return right, spent, None
        messages = [
            *messages,
            {"role": "assistant", "content": done.text},
            {"role": "user", "content": _AGAIN},
        ]
    return None, spent, None


def judge_all(
    task: str,
    questions: Mapping[str, Question],
    records: Sequence[Record],
    llm: LLM,
    prices: Prices,
    path: Path,
    *,
    runs: int = 1,
    concurrency: int = 8,
    advance: Callable[[], object] = lambda: None,
) -> list[Verdict]:
    """Judge every record by every rule, ``runs`` times, going on where ``path`` left off.

    A verdict on another answer than the record's is judged anew; so is one that never came.
    """
    kept = {
        (verdict.question, verdict.judge, verdict.run): verdict
        for verdict in read_verdicts(path)
        if verdict.right is not None
    }
    jobs = []
    verdicts = []
    for record in records:
        question = questions[record.question]
        for name, rule in rules_for(task, question).items():
            for run in range(runs):
                old = kept.get((record.question, name, run))
                if old is not None and old.answer == record.answer:
                    verdicts.append(old)
                else:
                    jobs.append((question, record.answer, name, rule, run))

    def work(job: tuple[Question, str, str, str, int]) -> Verdict:
        question, answer, name, rule, run = job
        right, spent, error = ask_judge(llm, prices, rule, question, answer)
        return Verdict(question.id, name, run, right, answer, _added(spent), error)

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        end_last_line(path)
    with ThreadPoolExecutor(concurrency) as pool, path.open("a", encoding="utf-8") as stream:
        try:
            for verdict in pool.map(work, jobs):
                stream.write(json.dumps(asdict(verdict)) + "\n")
                stream.flush()
                verdicts.append(verdict)
                advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)  # an interrupted run pays for no further call
            raise
    return verdicts


def read_verdicts(path: Path) -> Iterator[Verdict]:
    """Verdicts written so far; a last line that a crash cut short is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield Verdict(**json.loads(line))
        except (ValueError, TypeError):
            continue


def _added(spent: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    from evals.answers.records import total_usage

    return total_usage({"judge": call} for call in spent).get("judge", {})
