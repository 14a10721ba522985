"""Quality of sentence encoders by themselves.

Three checks, each with its development part apart:

- LOCOMO: evidence recall@10 over the data set's observations, linked, categories 1-4;
- LongMemEval-S: recall_all@5 of sessions, user turns as keys, best turn per session, questions
  with evidence in the user's own turns;
- STS-B: Spearman correlation of cosine and human score; also over the test pairs that share at
  least half of their words, where order and context decide.

--table-only reads a model's token level alone, without its blocks. --static adds the same table
without spikes; with --timesteps and no number after it, that row alone is measured.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals import metrics
from evals.data.loaders import (
    LocomoConversation,
    is_development,
    load_locomo,
    open_longmemeval,
    stream_longmemeval,
)
from evals.encoder.static import StaticTable
from evals.systems.encoders import CachedEncoder, MiniLM
from snn_encoder import SpikingEncoder
from snn_encoder.evaluate import sts

Encode = Callable[[Sequence[str]], NDArray[np.float32]]
Halves = dict[str, float]
ChatQuestion = tuple[str, str, tuple[str, ...], dict[str, list[int]]]


def halves(scores: Sequence[tuple[str, float]]) -> Halves:
    """Return the means over the development half, the other, and all."""
    parts = {
        "development": [value for name, value in scores if is_development(name)],
        "other half": [value for name, value in scores if not is_development(name)],
        "all": [value for _, value in scores],
    }
    return {name: round(float(np.mean(values)), 4) for name, values in parts.items()}


def locomo(encode: Encode, k: int = 10) -> Halves:
    scores = []
    for conversation in _conversations():
        units = [unit for session in conversation.sessions for unit in session.observations]
        questions = [q for q in conversation.questions if q.category <= 4 and q.evidence]
        similar = encode([q.text for q in questions]) @ encode([u.text for u in units]).T
        for question, row in zip(questions, similar, strict=True):
            top = np.argsort(-row, kind="stable")[:k]
            found = metrics.linked([], [units[i].sources for i in top])
            scores.append((conversation.id, metrics.evidence_recall(question.evidence, found)))
    return halves(scores)


@cache
def _conversations() -> tuple[LocomoConversation, ...]:
    return load_locomo().conversations


@cache
def _chat_questions() -> tuple[list[str], list[ChatQuestion]]:
    """Return the distinct user turns, and each question with its sessions' turn numbers."""
    texts: dict[str, int] = {}
    questions = []
    for question in stream_longmemeval(open_longmemeval("s")):
        turns = [t for s in question.sessions for t in s.turns if t.role == "user"]
        if question.id.endswith("_abs") or not any(turn.has_answer for turn in turns):
            continue
        sessions = {
            s.id: [texts.setdefault(t.text, len(texts)) for t in s.turns if t.role == "user"]
            for s in question.sessions
        }
        questions.append((question.id, question.text, question.answer_sessions, sessions))
    return list(texts), questions


def longmemeval(encode: Encode, k: int = 5) -> Halves:
    texts, questions = _chat_questions()
    keys = encode(texts)
    scores = []
    for (name, _, wanted, sessions), query in zip(
        questions, encode([q[1] for q in questions]), strict=True
    ):
        best = {sid: float((keys[rows] @ query).max()) for sid, rows in sessions.items() if rows}
        ranked = sorted(best, key=lambda sid: -best[sid])
        scores.append((name, metrics.recall_all_at(ranked, wanted, k)))
    return halves(scores)


def similarity(encode: Encode) -> Halves:
    folder = Path(os.environ["HYMEM_DATA"]) / "distill" / "sts"
    parts = {"development": "stsb_dev.tsv", "test": "stsb_test.tsv"}
    found = {name: round(sts(encode, folder / file), 4) for name, file in parts.items()}
    found["test, shared words"] = round(sts(encode, folder / parts["test"], overlap=0.5), 4)
    return found


CHECKS: dict[str, Callable[[Encode], Halves]] = {
    "LOCOMO observations recall@10": locomo,
    "LongMemEval-S recall_all@5": longmemeval,
    "STS-B Spearman": similarity,
}


def measure(encode: Encode) -> dict[str, Halves]:
    return {name: check(encode) for name, check in CHECKS.items()}


def table_only(weights: str) -> SpikingEncoder:
    """Return an encoder whose blocks are silent: their spikes reach no read-out."""
    parameters = SpikingEncoder.from_pretrained(weights).parameters
    alone = replace(parameters, blocks=(), readouts=parameters.readouts[:1])
    return SpikingEncoder(alone, weights)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", nargs="*", default=["nano", "small"])
    parser.add_argument("--timesteps", nargs="*", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--table-only", action="store_true", help="add rows without blocks")
    parser.add_argument("--static", action="store_true", help="add rows without spikes")
    parser.add_argument("--teacher", action="store_true", help="measure MiniLM too (slow)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file; rows are added to it")


def run(args: argparse.Namespace) -> None:
    """Measure, and write after every row, so that a run that ends early is not lost."""
    rows: dict[str, Any] = json.loads(args.out.read_text()) if args.out.exists() else {}

    def add(name: str, encode: Encode, **facts: str) -> None:
        rows[name] = {**measure(encode), **facts}
        args.out.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
        print(name, json.dumps(rows[name]), flush=True)

    if args.teacher and "all-MiniLM-L6-v2" not in rows:
        add("all-MiniLM-L6-v2", CachedEncoder(MiniLM()).encode)
    for weights in args.weights:
        encoder = SpikingEncoder.from_pretrained(weights)
        models = {encoder.name: encoder}
        if args.table_only and encoder.parameters.blocks:
            models[f"{encoder.name}, table read-out only"] = table_only(weights)
        for name, model in models.items():
            for steps in args.timesteps:
                encode = partial(model.encode, timesteps=steps)
                add(f"{name} T={steps}", encode, version=model.version)
        if args.static:
            static = StaticTable(encoder)
            add(static.name, static.encode, weights=encoder.parameters.digest[:12])
