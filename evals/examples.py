"""Questions of the development collections as the ranking sees them, and weights fitted to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evals.collections import Memory, Question
from evals.systems.hymem import HyMemMemory, HyMemSystem
from hymem import Config
from hymem.read import calibration, ranking
from hymem.read.features import NAMES, Table
from hymem.read.query import Query
from hymem.read.retrieve import CANDIDATES
from hymem.types import Encoder, Scope

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RIDGE = 3e-3


@dataclass(frozen=True, slots=True)
class Example:
    """A question's candidates. ``evidence``: the index of each piece of evidence among them;
    ``missing``: how many pieces are not; ``presence``: as in ``ranking.presence``."""

    items: Table
    evidence: Ints
    missing: int
    presence: dict[str, float]

    @property
    def values(self) -> Floats:
        return self.items.values

    @property
    def named(self) -> bool:
        """Whether the question names someone who speaks."""
        return bool(self.values[:, NAMES.index("named")].any())

    def without_late(self) -> Example:
        """As an encoder without token codes would have it."""
        values = self.values.copy()
        values[:, [place for place, name in enumerate(NAMES) if "late" in name]] = 0.0
        return replace(self, items=replace(self.items, values=values))


@contextmanager
def loaded(memory: Memory, encoder: Encoder, *, extract: bool = False) -> Iterator[HyMemMemory]:
    """HyMem filled with the memory's history."""
    opened = HyMemSystem("hymem", encoder, Config(), extract=extract).load(memory.history)
    try:
        yield opened
    finally:
        opened.close()


def example(memory: HyMemMemory, question: Question) -> Example:
    """What the retriever knows of the candidates."""
    retriever = memory.hymem._parts.retriever
    query = Query(Scope(memory.user_id), question.text, memory.now)
    found, items = retriever.examine(retriever.encoded(query), CANDIDATES)
    place = {
        source: at
        for at, row in enumerate(items.rows.tolist())
        for source in memory.messages(found.sources[row])
    }
    known = [place[source] for source in question.evidence if source in place]
    missing = len(question.evidence) - len(known)
    return Example(items, np.array(known, np.int64), missing, ranking.presence(found, items))


def fit(collections: Mapping[str, Sequence[Example]], names: Sequence[str]) -> dict[str, float]:
    """The weights of ``names`` that minimise the mean cross-entropy between the softmax of a
    question's scores and its evidence, each collection counting as much as any other; 0 for the
    other features."""
    columns = [NAMES.index(name) for name in names]
    lists = [
        [(one.values[:, columns], one.evidence) for one in examples if len(one.evidence)]
        for examples in collections.values()
    ]
    weights = _newton([part for part in lists if part], len(columns))
    chosen = dict(zip(names, weights.tolist(), strict=True))
    return {name: chosen.get(name, 0.0) for name in NAMES}


def _newton(lists: Sequence[Sequence[tuple[Floats, Ints]]], size: int, steps: int = 30) -> Floats:
    """Newton's method with step halving; the loss is convex."""
    weights = np.zeros(size)
    loss, gradient, hessian = _loss(lists, weights)
    for _ in range(steps):
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while (new := _loss(lists, weights - length * step))[0] > loss and length > 1e-6:
            length /= 2
        weights = weights - length * step
        gain, (loss, gradient, hessian) = loss - new[0], new
        if gain < 1e-7:
            break
    return weights


def _loss(
    lists: Sequence[Sequence[tuple[Floats, Ints]]], weights: Floats
) -> tuple[float, Floats, Floats]:
    """The loss with its gradient and Hessian."""
    loss = RIDGE * float(weights @ weights)
    gradient = 2 * RIDGE * weights
    hessian = 2 * RIDGE * np.eye(len(weights))
    for part in lists:
        scale = 1 / len(part) / len(lists)
        for values, evidence in part:
            logits = values @ weights
            logits = logits - logits.max()
            share = np.exp(logits)
            total = float(share.sum())
            share /= total
            mean = share @ values
            loss += scale * (np.log(total) - float(logits[evidence].mean()))
            gradient = gradient + scale * (mean - values[evidence].mean(axis=0))
            hessian += scale * ((values * share[:, None]).T @ values - np.outer(mean, mean))
    return loss, gradient, hessian


def logistic(inputs: Floats, labels: NDArray[np.bool_], weights: Floats | None = None) -> Floats:
    """Bias and weights of a logistic regression by Newton's method, ``float64[1 + k]``.

    ``inputs``: ``float64[n, k]``; ``labels``: ``bool[n]``; ``weights``: ``float64[n]``, how much
    each row counts (default: all alike). A small ridge keeps it finite."""
    design = np.column_stack([np.ones(len(inputs)), inputs])
    counts = np.ones(len(design)) if weights is None else weights * len(design) / weights.sum()
    result = np.zeros(design.shape[1])
    ridge = 1e-6 * len(design) * np.eye(design.shape[1])
    for _ in range(60):
        chance = ranking.probability(design @ result)
        gradient = design.T @ (counts * (chance - labels)) + ridge @ result
        hessian = (design.T * (counts * chance * (1 - chance))) @ design + ridge
        step = np.linalg.solve(hessian, gradient)
        result -= step
        if np.abs(step).max() < 1e-8:
            break
    return result


@contextmanager
def constants(**values: object) -> Iterator[None]:
    """Other constants in ``hymem.read.calibration`` for the time of a block."""
    before = {name: getattr(calibration, name) for name in values}
    try:
        for name, value in values.items():
            setattr(calibration, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(calibration, name, value)
