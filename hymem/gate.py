"""The score gate: from retrieval confidence to the light or the deep tier, with no model call.

Gate of arXiv 2602.13933 in its call-free form; the paper's own asks the model (`hymem.light`).
"""

from __future__ import annotations

from dataclasses import dataclass

from hymem.calibration import GATE
from hymem.retrieve import Retrieval
from hymem.types import Tier


@dataclass(frozen=True, slots=True)
class GateDecision:
    """``score``: the confidence that the light tier suffices; below ``threshold`` it is ``deep``.
    Where nothing was found the tier is ``none``."""

    tier: Tier
    score: float
    threshold: float


def decide(retrieval: Retrieval, threshold: float = GATE) -> GateDecision:
    """Which tier the question needs."""
    if not retrieval.found:
        return GateDecision("none", retrieval.confidence, threshold)
    deep = retrieval.confidence < threshold
    return GateDecision("deep" if deep else "light", retrieval.confidence, threshold)
