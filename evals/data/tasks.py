"""Benchmarks as histories with questions, the same shape for generation, scoring and dry runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from evals.data.history import History, locomo_history, longmemeval_history
from evals.data.loaders import (
    CATEGORY_NAMES,
    TASK_VERSIONS,
    DataFile,
    Locomo,
    Variant,
    load_locomo,
    open_longmemeval,
    stream_longmemeval,
)


@dataclass(frozen=True, slots=True)
class Question:
    """``group`` is LOCOMO's category by number and name, or LongMemEval's type."""

    id: str
    text: str
    answer: str
    group: str
    asked: datetime
    category: int | None = None
    abstention: bool = False


class Task(Protocol):
    """A benchmark: its questions come with the history that they are asked about."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def file(self) -> DataFile: ...
    def items(self) -> Iterator[tuple[History, list[Question]]]: ...


@dataclass(frozen=True, slots=True)
class LocomoTask:
    """LOCOMO; categories 1-4 unless told otherwise."""

    locomo: Locomo
    categories: Collection[int] = (1, 2, 3, 4)
    name = "locomo"
    version = TASK_VERSIONS["locomo"]

    @property
    def file(self) -> DataFile:
        return self.locomo.file

    def items(self) -> Iterator[tuple[History, list[Question]]]:
        for conversation in self.locomo.conversations:
            history = locomo_history(conversation)
            yield (
                history,
                [
                    Question(
                        question.id,
                        question.text,
                        question.answer,
                        f"{question.category} {CATEGORY_NAMES[question.category]}",
                        history.now,
                        question.category,
                        abstention=question.category == 5,
                    )
                    for question in conversation.questions
                    if question.category in self.categories
                ],
            )


@dataclass(frozen=True, slots=True)
class LongMemEvalTask:
    """LongMemEval; one history a question, read from disk one at a time."""

    file: DataFile
    name = "longmemeval"
    version = TASK_VERSIONS["longmemeval"]

    def items(self) -> Iterator[tuple[History, list[Question]]]:
        for item in stream_longmemeval(self.file):
            question = Question(
                item.id,
                item.text,
                item.answer,
                item.type,
                item.time,
                abstention=item.abstention,
            )
            yield longmemeval_history(item), [question]


def load_task(
    name: str,
    source: str | Path | None = None,
    *,
    variant: Variant = "s",
    adversarial: bool = False,
) -> Task:
    """``locomo`` or ``longmemeval``. Raises ``DataError``."""
    if name == "locomo":
        return LocomoTask(load_locomo(source), (1, 2, 3, 4, 5) if adversarial else (1, 2, 3, 4))
    return LongMemEvalTask(open_longmemeval(variant, source))
