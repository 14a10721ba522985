"""``hymem-eval transfer``: does the ranking hold on talk that chose none of its constants?

Each development collection is measured with constants fitted to the others alone, beside plain
retrieval with the same encoder and, if named, with others: by meaning, by words, both fused, and
both fused with three-turn windows as further keys. Long texts count twice: *verbatim*, and
*touched* where any sentence of the evidence is in the block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from evals import metrics
from evals.calibrate import Opened, fit_scores, read
from evals.collections import COLLECTIONS, Memory, Question
from evals.examples import constants, example, loaded
from evals.results import Observation, Row, pivot, row_of
from evals.systems.baselines import RankedSystem, piece_passages, turn_passages
from evals.systems.hymem import HyMemMemory, Recalled
from evals.systems.hymem import Memory as Loaded
from hymem.types import Encoder

TRANSFER_VERSION = "transfer-1"
METRICS = (
    "verbatim recall",
    "touched recall",
    "verbatim all",
    "touched all",
    "tokens",
    "empty",
)
# A shorter sentence ("Thanks!") may stand in a block for other reasons.
LEAST_CHARACTERS = 40
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")


def measure(
    names: Sequence[str],
    encoder: Encoder,
    others: Mapping[str, Encoder],
    data: Path | None,
    advance: Callable[[str], object] = lambda text: None,
) -> Iterator[Observation]:
    """Observations of every question of the collections ``names`` (at least two, since each is
    measured with constants fitted to the others). ``others``: further encoders by name, for the
    baselines. Raises ``DataError``."""
    with ExitStack() as stack:
        opened: dict[str, list[Opened]] = {}
        for name in names:
            opened[name] = [
                (memory, stack.enter_context(loaded(memory, encoder)))
                for memory in read(name, data)
            ]
            advance(f"{name}: loaded")
        examples = {
            name: [example(hymem, asked) for memory, hymem in part for asked in memory.questions]
            for name, part in opened.items()
        }
        for name, part in opened.items():
            rest = {other: found for other, found in examples.items() if other != name}
            with constants(**fit_scores(rest)):
                for memory, hymem in part:
                    yield from observe("hymem", name, memory, hymem)
                    yield from observe("hymem, adaptive", name, memory, Adaptive(hymem))
            advance(f"{name}: hymem")
    for label, one in {"": encoder, **others}.items():
        for name in names:
            for memory in read(name, data):
                for system in baselines(one, label):
                    yield from observe(system.name, name, memory, system.load(memory.history))
            advance(f"{name}: baselines {label}")


class Adaptive:
    """A memory that is asked for no more than its gate says is needed."""

    def __init__(self, hymem: HyMemMemory) -> None:
        self._hymem = hymem

    def recall(self, question: str, budget: int) -> Recalled:
        return self._hymem.recall(question, budget, adaptive=True)

    def rank(self, question: str, limit: int) -> list[str]:
        return self._hymem.rank(question, limit)

    def close(self) -> None:
        """The memory is its owner's."""


def baselines(encoder: Encoder, label: str) -> list[RankedSystem]:
    suffix = f" · {label}" if label else ""
    systems = [
        RankedSystem(f"dense{suffix}", "dense", turn_passages, encoder),
        RankedSystem(f"fused{suffix}", "hybrid", turn_passages, encoder, stem=True),
        RankedSystem(
            f"fused, windows{suffix}", "hybrid", turn_passages, encoder, stem=True, windows=True
        ),
        RankedSystem(
            f"fused, 128-token pieces{suffix}", "hybrid", piece_passages, encoder, stem=True
        ),
    ]
    if not label:
        systems.append(RankedSystem("bm25", "bm25", turn_passages, stem=True))
    return systems


def observe(system: str, name: str, memory: Memory, loaded: Loaded) -> Iterator[Observation]:
    texts = {message.id: message.text for message in memory.history.messages}
    for question in memory.questions:
        values: dict[tuple[str, int | None], float] = {}
        for budget in metrics.BUDGETS:
            recalled = loaded.recall(question.text, budget)
            held = {
                "verbatim": set(recalled.messages),
                "touched": touched(recalled, question, texts),
            }
            for metric, found in held.items():
                values[f"{metric} recall", budget] = metrics.evidence_recall(
                    question.evidence, found
                )
                values[f"{metric} all", budget] = metrics.all_evidence(question.evidence, found)
            values["empty", budget] = float(not recalled.text)
            values["tokens", budget] = float(recalled.tokens)
        yield Observation(system, f"{name}/{question.id}", (name,), values)


def touched(recalled: Recalled, question: Question, texts: Mapping[str, str]) -> set[str]:
    """The evidence of which the block holds any sentence of ``LEAST_CHARACTERS``, or all."""
    flat = " ".join(recalled.text.split())
    return {
        item
        for item in question.evidence
        if item in recalled.messages or any(part in flat for part in long_sentences(texts[item]))
    }


def long_sentences(text: str) -> list[str]:
    parts = (" ".join(part.split()) for part in _SENTENCE.split(text))
    return [part for part in parts if len(part) >= LEAST_CHARACTERS]


def rows_of(observations: Sequence[Observation]) -> list[Row]:
    """Means over each collection; all of it is development data."""
    samples: dict[tuple[str, str, str, int | None], list[float]] = {}
    for item in observations:
        for group in item.groups:
            for (metric, budget), value in item.values.items():
                samples.setdefault((item.system, group, metric, budget), []).append(value)
    return [
        row_of(system, "development", group, metric, metrics.mean(values), budget)
        for (system, group, metric, budget), values in samples.items()
    ]


def show(rows: Sequence[Row], names: Sequence[str] = tuple(COLLECTIONS)) -> str:
    parts = []
    for name in names:
        for metric in METRICS:
            parts.append(f"### {name}: {metric}, constants of the other collections\n")
            parts.append(pivot(rows, metric, half="development", group=name) + "\n")
    return "\n".join(parts)
