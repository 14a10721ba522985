"""Segmentation with a model's help: it says where topics change, the rules bound the events."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from hymem.context import cited, render
from hymem.errors import BudgetError, LLMError
from hymem.keys import strip_recalled
from hymem.passages import with_text
from hymem.prompts import load
from hymem.redact import brief
from hymem.segment import TopicSegmenter
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
