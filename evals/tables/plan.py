"""The committed tables: what each is made of, in the order in which they are made.

First what the default encoder needs, minutes each; the rows of MiniLM, which take longest to
encode, come last.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evals.data.files import DataError, DataFile
from evals.data.loaders import TASK_VERSIONS, Locomo, load_locomo, open_longmemeval
from evals.progress import progress
from evals.results import Result, Row
from evals.tables import build

Kind = Literal["locomo", "gate", "longmemeval", "answers"]


@dataclass(frozen=True, slots=True)
class Planned:
    """One result file. ``minutes``: on two idle cores with no vectors cached."""

    name: str
    kind: Kind
    encoder: str
    minutes: int
    baselines: build.Baselines = "encoder"
    ablations: bool = False
    both_sides: bool = False


PLAN = (
    Planned("locomo-spiking", "locomo", "spiking", 3, "all", ablations=True),
    Planned("gate-spiking", "gate", "spiking", 1),
    Planned("longmemeval-s-spiking", "longmemeval", "spiking", 1, "all"),
    Planned("answers-offline", "answers", "spiking", 2),
    Planned("locomo-spiking-nano", "locomo", "spiking:nano", 1),
    Planned("locomo-spiking-base", "locomo", "spiking:base", 2),
    Planned("longmemeval-s-spiking-base", "longmemeval", "spiking:base", 4),
    Planned("longmemeval-s-spiking-nano", "longmemeval", "spiking:nano", 1),
    Planned("longmemeval-s-both-sides", "longmemeval", "spiking", 8, "none", both_sides=True),
    Planned("locomo-minilm", "locomo", "minilm", 5, "all"),
    Planned("longmemeval-s-minilm", "longmemeval", "minilm", 60, "only"),
)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What every table is made from. ``cache``: folder of vectors, ``jobs``: processes."""

    locomo: Locomo
    longmemeval: DataFile
    cache: Path | None
    jobs: int


def planned(names: Sequence[str]) -> list[Planned]:
    """The tables named, or all. Raises ``DataError`` for an unknown name."""
    known = {table.name: table for table in PLAN}
    if unknown := [name for name in names if name not in known]:
        raise DataError(f"no table {unknown[0]!r}; there are: {', '.join(known)}")
    return [known[name] for name in names] if names else list(PLAN)


def open_inputs(source: Path | None, cache: Path | None, jobs: int) -> Inputs:
    """Both benchmarks, checked before the first minute is spent. Raises ``DataError``."""
    return Inputs(load_locomo(source), open_longmemeval("s", source), cache, jobs)


# Of the many metrics of a retrieval table, what a page or a plot shows: by all questions that count
# together, and the first by category too. `hymem-eval retrieval --out` writes all of them.
SHOWN = {
    "locomo": ("verbatim recall", "verbatim all", "linked recall", "turn recall@k"),
    "longmemeval": (
        "session recall_all@k", "session recall_any@k", "session nDCG@k", "turn recall_all@k",
        "newer evidence first", "older evidence first as of before the change",
    ),
}  # fmt: skip


def shown(rows: Iterable[Row], kind: Kind) -> list[Row]:
    """The rows of a table that are committed."""
    if kind not in SHOWN:
        return list(rows)
    return [
        row
        for row in rows
        if row.metric in SHOWN[kind]
        if row.group in ("1-4", "strict", "original", "every question")
        or (row.metric, row.half, row.budget) == ("verbatim recall", "all", 1000)
    ]


def make(table: Planned, inputs: Inputs) -> Result:
    """Measure one table; its rows are those that are committed."""
    result = measured(table, inputs)
    result.rows = shown(result.rows, table.kind)
    return result


def measured(table: Planned, inputs: Inputs) -> Result:
    """One table with all its rows."""
    if table.kind == "gate":
        return build.gate_table(inputs.locomo, table.encoder, cache=inputs.cache)
    if table.kind == "answers":
        return answers_table(inputs, table.encoder)
    if table.kind == "locomo":
        return build.locomo_table(
            inputs.locomo,
            table.encoder,
            cache=inputs.cache,
            jobs=inputs.jobs,
            baselines=table.baselines,
            ablations=table.ablations,
        )
    return build.longmemeval_table(
        inputs.longmemeval,
        TASK_VERSIONS["longmemeval"],
        table.encoder,
        cache=inputs.cache,
        jobs=inputs.jobs,
        baselines=table.baselines,
        both_sides=table.both_sides,
    )


def answers_table(inputs: Inputs, encoder_name: str) -> Result:
    """HyMem's extractive answers to all of LOCOMO: a floor, made without a language model. The
    records, which hold dataset text, are thrown away."""
    from evals.answers.answerers import HyMemAnswerer
    from evals.answers.generate import generate, header_of
    from evals.answers.records import RecordWriter, read_run
    from evals.answers.score import score_run
    from evals.data.tasks import LocomoTask
    from evals.systems.encoders import cached, load_encoder
    from hymem import Config

    task = LocomoTask(inputs.locomo, (1, 2, 3, 4, 5))
    encoder = cached(load_encoder(encoder_name), inputs.cache)
    with tempfile.TemporaryDirectory(prefix="hymem-eval-") as folder:
        answerer = HyMemAnswerer("hymem", encoder, Config(), Path(folder) / "stores")
        records = Path(folder) / "records.jsonl"
        with (
            RecordWriter(records, header_of(task, answerer)) as writer,
            progress("answers, offline", len(inputs.locomo.questions)) as advance,
        ):
            generate(task, answerer, writer, price=lambda sent, said: 0.0, advance=advance)
        return score_run(task, read_run(records))
