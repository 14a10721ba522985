"""Development collections: conversations of many kinds, each with questions and their evidence.

Constants of recall are chosen on these alone, and each is measured on the collection that did not
choose it (`hymem-eval transfer`). All are made from data at hand by rules, the same on every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from evals.collections.base import Collection, Memory, Question

__all__ = ["COLLECTIONS", "Collection", "Memory", "Question", "load"]


def _locomo(data: Path | None) -> Iterator[Memory]:
    from evals.collections.benchmarks import locomo

    return locomo(data)


def _longmemeval(data: Path | None) -> Iterator[Memory]:
    from evals.collections.benchmarks import longmemeval

    return longmemeval(data)


def _long_replies(data: Path | None) -> Iterator[Memory]:
    from evals.collections.replies import long_replies

    return long_replies(data)


def _allusions(data: Path | None) -> Iterator[Memory]:
    from evals.collections.allusions import allusions
    from evals.collections.corpora import talk

    return allusions(talk(data))


def _preferences(data: Path | None) -> Iterator[Memory]:
    from evals.collections.corpora import talk
    from evals.collections.preferences import preferences

    return preferences(talk(data))


def _meetings(data: Path | None) -> Iterator[Memory]:
    from evals.collections.corpora import meeting_questions
    from evals.collections.meetings import meetings

    return meetings(meeting_questions(data))


COLLECTIONS: Mapping[str, Callable[[Path | None], Iterator[Memory]]] = {
    "locomo": _locomo,
    "longmemeval": _longmemeval,
    "long replies": _long_replies,
    "allusions": _allusions,
    "preferences": _preferences,
    "meetings": _meetings,
}


def load(name: str, data: Path | None = None) -> Collection:
    """The collection of this name, read lazily. ``data``: folder (default: HYMEM_DATA).

    Raises ``DataError`` where its data is missing, ``KeyError`` for an unknown name.
    """
    return Collection(name, COLLECTIONS[name](data))
