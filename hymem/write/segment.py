"""Segmentation: cuts the turns of one session into topic-coherent events.

An event ends where the conversation pauses, where its topic shifts, or where it grows too long.
A topic shift is a dip in the similarity of the turns before and after a gap, as in TextTiling
(Hearst 1997), with embeddings in place of word counts. A model, where there is one, may say where
topics change; the rules then bound the events.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from hymem.errors import BudgetError, LLMError
from hymem.prompts import load
from hymem.system.redact import brief
from hymem.text.block import cited, render
from hymem.text.keys import strip_recalled
from hymem.text.passages import with_text
from hymem.types import LLM, CallCounter, Turn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


log = logging.getLogger(__name__)

TURNS_PER_CALL = 60
# Enough of a message to tell its topic.
PREVIEW_CHARACTERS = 300
_UNBOUNDED = 10**9
_NEVER = 1e9


@dataclass(frozen=True, slots=True)
class TopicSegmenter:
    """The default ``Segmenter``.

    ``max_gap``: a longer silence between two turns always ends an event, and so does a turn that
    was said that much earlier than the one before it (a history added out of order).
    ``min_turns``, ``max_turns``: bounds of an event in turns; a topic shift never makes an event
    shorter than ``min_turns``, a silence may. ``max_chars``: upper bound of an event's text; a
    single longer turn is an event of its own.
    ``block``: turns on each side of a gap that are compared. ``sensitivity``: a dip counts when it
    is deeper than the session's mean dip by this many standard deviations.
    ``overlap``: turns that an event repeats from the end of the one before, unless a silence
    parts them: an answer keeps its question.
    """

    max_gap: timedelta = timedelta(hours=1)
    min_turns: int = 4
    max_turns: int = 16
    max_chars: int = 6000
    block: int = 3
    sensitivity: float = 0.5
    overlap: int = 1

    def segment(self, turns: Sequence[Turn], vectors: NDArray[np.float32]) -> list[tuple[int, int]]:
        """Cut ``turns`` (one session, in order) into events.

        Args:
            turns: the session's turns.
            vectors: ``float32[len(turns), dim]``, one unit row per turn.

        Returns:
            Half-open index ranges that cover all turns in order; neighbours overlap by at most
            ``overlap`` turns.

        Raises:
            ValueError: if there is not one vector per turn.
        """
        if len(turns) != len(vectors):
            raise ValueError(f"{len(turns)} turns need as many vectors, got {len(vectors)}")
        if not turns:
            return []
        depths = _dip_depths(vectors, self.block)
        mean, spread = float(depths.mean()), float(depths.std())
        shift = depths > max(mean + self.sensitivity * spread, 1e-6)
        ranges: list[tuple[int, int]] = []
        start, chars = 0, len(turns[0].text)
        for i in range(1, len(turns)):
            silence = _pause(turns[i - 1], turns[i]) > self.max_gap
            full = i - start >= self.max_turns or chars + len(turns[i].text) > self.max_chars
            topic = bool(shift[i - 1]) and i - start >= self.min_turns
            if silence or full or topic:
                ranges.append((start, i))
                start, chars = i, 0
                if not silence:
                    start, chars = self._overlap(turns, ranges[-1], len(turns[i].text))
            chars += len(turns[i].text)
        ranges.append((start, len(turns)))
        return ranges

    def _overlap(
        self, turns: Sequence[Turn], previous: tuple[int, int], next_chars: int
    ) -> tuple[int, int]:
        """Where the event after ``previous`` starts, and how many characters it repeats."""
        start, end = previous
        first, chars = end, 0
        while (
            end - first < self.overlap
            and first - 1 > start
            and chars + len(turns[first - 1].text) + next_chars <= self.max_chars
        ):
            first -= 1
            chars += len(turns[first].text)
        return first, chars


def _pause(before: Turn, after: Turn) -> timedelta:
    if before.time is None or after.time is None:
        return timedelta(0)
    return abs(_utc(after.time) - _utc(before.time))


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _dip_depths(vectors: NDArray[np.float32], block: int) -> NDArray[np.float64]:
    """How far the similarity falls at each gap below the peaks around it.

    ``float32[n, dim]`` → ``float64[max(n - 1, 1)]``: entry ``i`` is the gap between turns ``i`` and
    ``i + 1``. The similarity of a gap is the cosine of the sums of the ``block`` vectors on
    either side; its depth is the climb to the nearest peak on the left plus that on the right.
    """
    import numpy as np

    n = len(vectors)
    if n < 2:
        return np.zeros(1)
    sums = np.zeros((n + 1, vectors.shape[1]))
    np.cumsum(vectors, axis=0, dtype=np.float64, out=sums[1:])
    gaps = np.arange(1, n)
    left = sums[gaps] - sums[np.maximum(gaps - block, 0)]
    right = sums[np.minimum(gaps + block, n)] - sums[gaps]
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    similarity = np.einsum("ij,ij->i", left, right) / np.maximum(norms, 1e-12)
    depth = _climb(similarity) + _climb(similarity[::-1])[::-1] - 2 * similarity
    result: NDArray[np.float64] = np.where(_is_local_minimum(similarity), depth, 0.0)
    return result


def _climb(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each gap, the height reached by walking left as long as the similarity does not fall."""
    peaks = similarity.copy()
    for i in range(1, len(peaks)):
        if similarity[i - 1] >= similarity[i]:
            peaks[i] = peaks[i - 1]
    return peaks


def _is_local_minimum(similarity: NDArray[np.float64]) -> NDArray[np.bool_]:
    import numpy as np

    padded = np.concatenate(([np.inf], similarity, [np.inf]))
    result: NDArray[np.bool_] = (similarity <= padded[:-2]) & (similarity < padded[2:])
    return result


class LLMSegmenter:
    """``Segmenter`` on a chat model. ``rules`` bounds the events in time and length, and takes over
    where the model cannot be reached or may not be paid.

    The end of a session stays open while it goes on, and is read again whenever something is added
    to it; so add in batches, or with ``background=False`` and a ``flush``.
    """

    def __init__(self, llm: LLM, rules: TopicSegmenter | None = None) -> None:
        self._llm = llm
        self._rules = rules or TopicSegmenter()

    def metered(self, counter: CallCounter) -> LLMSegmenter:
        """This segmenter, with its calls counted as stage ``segment``."""
        return LLMSegmenter(counter.ambient_llm(self._llm, "segment"), self._rules)

    def segment(self, turns: Sequence[Turn], vectors: NDArray[np.float32]) -> list[tuple[int, int]]:
        """As ``hymem.types.Segmenter``; one call for each ``TURNS_PER_CALL`` turns."""
        try:
            starts = self._starts(turns)
        except (LLMError, BudgetError) as error:
            log.warning("segmenting by rules: %s", brief(error))
            return self._rules.segment(turns, vectors)
        bounds = replace(self._rules, sensitivity=_NEVER)
        return [
            (first + start, first + end)
            for first, last in pairwise([*starts, len(turns)])
            for start, end in bounds.segment(turns[first:last], vectors[first:last])
        ]

    def _starts(self, turns: Sequence[Turn]) -> list[int]:
        """Where topics begin, the first place included; empty without turns."""
        place = {turn.id: index for index, turn in enumerate(turns)}
        starts = {0} if turns else set[int]()
        for first in range(0, len(turns), TURNS_PER_CALL):
            starts.update(place[turn.id] for turn in self._ask(turns[first:][:TURNS_PER_CALL]))
        return sorted(starts)

    def _ask(self, turns: Sequence[Turn]) -> list[Turn]:
        from hymem.prompts.schemas import SegmentReply

        previews = [
            with_text(turn, strip_recalled(turn.text)[:PREVIEW_CHARACTERS]) for turn in turns
        ]
        block = render(previews, _UNBOUNDED, numbered=True)
        messages = load("segment").messages(memory=block.text)
        reply: SegmentReply = self._llm.complete(messages, SegmentReply).value
        return [turn for turn in cited(reply.starts, block.used)[0] if isinstance(turn, Turn)]
