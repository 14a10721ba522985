"""The demo on LOCOMO, with no language model.

Ingests the conversations, asks a sample of their questions, and prints evidence recall and the
offline reader's F1, with its score on the bundled demo beside them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from evals.data.history import locomo_history
from evals.data.loaders import (
    CATEGORY_NAMES,
    LocomoConversation,
    LocomoQuestion,
    is_development,
    load_locomo,
)
from evals.metrics import evidence_recall, locomo_f1, mean
from evals.systems.hymem import as_messages
from hymem import HyMem
from hymem.demo.run import ask_all, ingest
from hymem.types import Answer

RECALL_TOKENS = 1000
EXAMPLES = 4
ADVERSARIAL = 5


@dataclass(frozen=True, slots=True)
class Asked:
    """One question with HyMem's answer. ``recall``: the share, 0 to 1, of its evidence turns that
    stand in the recalled context; ``None`` for a question without evidence."""

    question: LocomoQuestion
    answer: Answer
    cited: tuple[str, ...]
    recall: float | None
    seconds: float

    @property
    def f1(self) -> float:
        """LOCOMO's own score; an adversarial question is right when nothing was found."""
        if self.question.category == ADVERSARIAL:
            return float(not self.answer.found)
        text = self.answer.text if self.answer.found else ""
        return locomo_f1(text, self.question.answer, self.question.category)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="locomo10.json, or the folder that holds it")
    parser.add_argument(
        "--every", type=int, default=10, help="ask every n-th question (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> None:
    console = Console()
    locomo = load_locomo(options.data)
    with TemporaryDirectory() as folder, HyMem(Path(folder) / "locomo.db", llm=None) as memory:
        _ingest(console, memory, locomo.conversations)
        asked = list(_ask_all(console, memory, locomo.conversations, max(options.every, 1)))
        ingest(memory)
        bundled = [result.right for result in ask_all(memory)]
    _show_examples(console, asked)
    _show_scores(console, asked)
    console.print(f"The bundled demo's questions: {sum(bundled)} of {len(bundled)} right.")


def _bar(console: Console, what: str) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _ingest(console: Console, memory: HyMem, conversations: Sequence[LocomoConversation]) -> None:
    start = time.perf_counter()
    with _bar(console, "Remembering") as progress:
        task = progress.add_task("turns", total=sum(len(c.turns) for c in conversations))
        for conversation in conversations:
            messages = as_messages(locomo_history(conversation))
            memory.add(messages, user_id=conversation.id, wait=True)
            progress.advance(task, len(messages))
    status = memory.status(all_scopes=True)
    seconds = time.perf_counter() - start
    console.print(f"{status.turns} turns and {status.units} units in {seconds:.0f} s\n")


def _ask_all(
    console: Console,
    memory: HyMem,
    conversations: Sequence[LocomoConversation],
    every: int,
) -> Iterator[Asked]:
    questions = [(c, question) for c in conversations for question in c.questions[::every]]
    with _bar(console, "Asking") as progress:
        task = progress.add_task("questions", total=len(questions))
        for conversation, question in questions:
            yield _ask(memory, conversation, question)
            progress.advance(task)


def _ask(memory: HyMem, conversation: LocomoConversation, question: LocomoQuestion) -> Asked:
    user, now = conversation.id, locomo_history(conversation).now
    start = time.perf_counter()
    answer = memory.ask(question.text, user_id=user, now=now)
    seconds = time.perf_counter() - start
    cited = _sources(memory, user, [id for hit in answer.evidence for id in hit.source_turns])
    recall = None
    if question.evidence:
        context = memory.recall(question.text, user_id=user, max_tokens=RECALL_TOKENS, now=now)
        shown = [hit.id for hit in context.evidence if hit.kind == "turn"]
        recall = evidence_recall(question.evidence, _sources(memory, user, shown))
    return Asked(question, answer, cited, recall, seconds)


def _sources(memory: HyMem, user: str, turns: Sequence[int]) -> tuple[str, ...]:
    """The dialog ids of these turns."""
    items = [memory.get(turn, user_id=user) for turn in dict.fromkeys(turns)]
    return tuple(getattr(item, "source_id", None) or "" for item in items)


def _show_examples(console: Console, asked: Sequence[Asked]) -> None:
    step = max(len(asked) // EXAMPLES, 1)
    for one in asked[::step][:EXAMPLES]:
        answer = one.answer
        console.print(one.question.text, style="bold", markup=False)
        console.print("  ", answer.text, style="cyan", markup=False, highlight=False)
        console.print(
            f"   expected: {one.question.answer or 'no answer'} · F1 {one.f1:.2f} · tier "
            f"{answer.tier} · cites {', '.join(one.cited) or 'nothing'} · read {answer.tokens} "
            f"tokens · ${answer.usage.usd or 0:.2f} · {1000 * one.seconds:.0f} ms\n",
            style="dim",
            markup=False,
            highlight=False,
        )


def _show_scores(console: Console, asked: Sequence[Asked]) -> None:
    table = Table(
        "",
        *(f"{score}\n{half}" for score in ("F1", "recall") for half in ("dev", "other", "all")),
        "n",
        title=f"No model: the offline reader's F1, and evidence recall at {RECALL_TOKENS} tokens",
    )
    for category, name in CATEGORY_NAMES.items():
        part = [one for one in asked if one.question.category == category]
        _row(table, f"{category} {name}", part)
    _row(table, "1-4", [one for one in asked if one.question.category != ADVERSARIAL])
    console.print(table)


def _row(table: Table, name: str, asked: Sequence[Asked]) -> None:
    development = [one for one in asked if is_development(one.question.conversation)]
    other = [one for one in asked if not is_development(one.question.conversation)]
    halves = (development, other, asked)
    scores = [mean(one.f1 for one in half).value for half in halves]
    scores += [mean(one.recall for one in half if one.recall is not None).value for half in halves]
    table.add_row(
        name, *("–" if value is None else f"{value:.3f}" for value in scores), str(len(asked))
    )
