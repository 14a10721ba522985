"""How far a text's words cover a question's, by stem and, with an encoder, by meaning."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hymem.offline.concepts import told_by
from hymem.text.words import terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Encode = Callable[[Sequence[str]], NDArray[np.float32]]

# Cosines of single words: below LOW they mean nothing, from HIGH on they are near-synonyms. A
# synonym counts for less than the word itself.
LOW, HIGH, SYNONYM = 0.3, 0.8, 0.8
MOST_WORDS = 20_000
# Words that stand in the same contexts and yet exclude each other: no synonym will do for them.
_EXACT = re.compile(
    r"(?:(?:step|grand)?(?:mother|father|son|daughter)|mom|mum|dad|brother|sister|husband|wife|"
    r"boyfriend|girlfriend|uncle|aunt|niece|nephew|cousin|"
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|january|february|march|april|may|june|july|"
    r"august|september|october|november|december|spring|summer|autumn|fall|winter)s?|\d+"
)
_WORD = re.compile(r"[^\W_]{2,}|\d")


class WordVectors:
    """Vectors of single words, each encoded once: the words of one memory come back with every
    question. Safe to share between threads."""

    def __init__(self, encode: Encode) -> None:
        self._encode = encode
        self._known: dict[str, NDArray[np.float32]] = {}

    def __call__(self, words: Sequence[str]) -> NDArray[np.float32]:
        """``words`` → ``float32[len(words), dim]``."""
        import numpy as np

        known = self._known
        new = [word for word in dict.fromkeys(words) if word not in known]
        if new:
            known = known | dict(zip(new, self._encode(new), strict=True))
            self._known = known if len(known) <= MOST_WORDS else {}
        return np.stack([known[word] for word in words])


class Coverage:
    """The words of a question, ready to be looked for in each of ``texts``."""

    def __init__(
        self, question: str, wanted: Sequence[str], texts: Sequence[str], encode: Encode | None
    ) -> None:
        """``wanted``: the stems of ``question`` that count. ``encode``: words → unit rows."""
        stems = {text: set(terms(text)) for text in dict.fromkeys(texts)}
        self._weights = _weights(wanted, [stems[text] for text in texts])
        self._soft = _synonyms(question, wanted, list(stems), encode) if encode and wanted else {}
        self._shares: dict[str, float] = {}

    def of(self, text: str) -> float:
        """The share, 0 to 1, of the question's words that ``text`` holds; rare words count more,
        synonyms in part. Words outside the given texts are matched by stem alone."""
        if text not in self._shares:
            stems = set(terms(text))
            self._shares[text] = sum(
                weight * (1.0 if term in stems else self._nearest(term, stems))
                for term, weight in self._weights.items()
            )
        return self._shares[text]

    def _nearest(self, term: str, stems: set[str]) -> float:
        if not stems.isdisjoint(told_by(term)):
            return SYNONYM
        near = self._soft.get(term)
        return max((near.get(stem, 0.0) for stem in stems), default=0.0) if near else 0.0


def _weights(wanted: Sequence[str], texts: Sequence[set[str]]) -> dict[str, float]:
    """Each term's share of the question, rare ones more; they sum to 1."""
    count = Counter(term for text in texts for term in text)
    raw = {t: math.log(1 + (len(texts) + 1) / (count[t] + 0.5)) for t in wanted}
    total = sum(raw.values()) or 1.0
    return {term: value / total for term, value in raw.items()}


def _synonyms(
    question: str, wanted: Sequence[str], texts: Sequence[str], encode: Encode
) -> dict[str, dict[str, float]]:
    """For each wanted stem, the stems of the texts that mean nearly the same, and how nearly."""
    import numpy as np

    asked = {
        term: word
        for word, term in _vocabulary([question]).items()
        if term in wanted and not _EXACT.fullmatch(word)
    }
    vocabulary = _vocabulary(texts)
    if not asked or not vocabulary:
        return {}
    vectors = encode([*asked.values(), *vocabulary])
    cosines = vectors[: len(asked)] @ vectors[len(asked) :].T
    nearness = np.clip((cosines - LOW) / (HIGH - LOW), 0, 1) * SYNONYM
    stems = list(vocabulary.values())
    return {
        term: {stems[i]: float(row[i]) for i in np.flatnonzero(row)}
        for term, row in zip(asked, nearness, strict=True)
    }


def _vocabulary(texts: Sequence[str]) -> dict[str, str]:
    """Words with content → their stems."""
    words = dict.fromkeys(word for text in texts for word in _WORD.findall(text.lower()))
    return {word: stems[0] for word in words if (stems := terms(word))}
