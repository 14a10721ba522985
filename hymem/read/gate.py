"""The score gate: from what retrieval found to how much is read, with no model call.

Gate of arXiv 2602.13933 in its call-free form; the paper's own asks the model (`hymem.read.tiers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hymem.read import calibration
from hymem.read.retrieve import Retrieval
from hymem.types import Tier


@dataclass(frozen=True, slots=True)
class GateDecision:
    """``score``: the probability that the light tier suffices; below ``threshold`` it is
    ``deep``."""

    tier: Tier
    score: float
    threshold: float


def decide(retrieval: Retrieval, threshold: float | None = None) -> GateDecision:
    """Which tier the question needs. ``threshold``: default ``calibration.GATE``."""
    threshold = calibration.GATE if threshold is None else threshold
    deep = retrieval.sufficient < threshold
    return GateDecision("deep" if deep else "light", retrieval.sufficient, threshold)


def needed(worth: Sequence[float]) -> int:
    """How many of a block's passages the question needs: so many that the others are together less
    than ``calibration.EXPENDABLE`` of the whole ``worth`` (``hymem.read.retrieve.Retrieval``)."""
    left = sum(worth)
    expendable = calibration.EXPENDABLE * left
    for count, one in enumerate(worth):
        if count and left <= expendable:
            return count
        left -= one
    return len(worth)
