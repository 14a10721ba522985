"""How many steps a spiking search needs.

LOCOMO observations, categories 1-4, recall@10 linked, keys at the encoder's default T. Prints
`SpikingEncoder.search`'s share of the recall of queries at T = 8 and its mean T: for a range of
margins on the development half, on which `snn_encoder.inference.MARGIN` was chosen (the least that
keeps 99 %), and for the margin in force on both halves.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from evals import metrics
from evals.data.loaders import LocomoConversation, is_development, load_locomo
from snn_encoder import SpikingEncoder
from snn_encoder.inference import MARGIN
from snn_encoder.parameters import MAX_TIMESTEPS

MARGINS = (0.004, 0.008, 0.012, 0.016, 0.02, 0.022, 0.024, 0.026, 0.028, 0.032)
Scored = list[tuple[float, int]]  # recall of a question, and the steps it took


def searched(
    encoder: SpikingEncoder, conversations: list[LocomoConversation], margin: float
) -> tuple[Scored, Scored]:
    """Return each question's (recall, steps) by `search`, and with all T = 8 steps."""
    grown: Scored = []
    full: Scored = []
    for conversation in conversations:
        units = [unit for session in conversation.sessions for unit in session.observations]
        keys = encoder.encode([unit.text for unit in units])
        questions = [q for q in conversation.questions if q.category <= 4 and q.evidence]
        queries = encoder.encode([q.text for q in questions], MAX_TIMESTEPS)
        for question, row in zip(questions, queries @ keys.T, strict=True):
            first = np.argsort(-row, kind="stable")[:10]
            found, steps = encoder.search(question.text, keys, 10, margin)
            for scored, top, count in ((grown, found, steps), (full, first, MAX_TIMESTEPS)):
                linked = metrics.linked([], [units[i].sources for i in top])
                scored.append((metrics.evidence_recall(question.evidence, linked), count))
    return grown, full


def shares(
    encoder: SpikingEncoder, development: bool, margins: tuple[float, ...]
) -> Iterator[dict[str, float]]:
    """Yield each margin's share of the T = 8 recall, and its mean T."""
    chosen = [c for c in load_locomo().conversations if is_development(c.id) == development]
    for margin in margins:
        grown, full = (np.array(rows) for rows in searched(encoder, chosen, margin))
        yield {
            "margin": margin,
            "share of T = 8": round(_recall(grown) / _recall(full), 4),
            "mean T": round(float(grown[:, 1].mean()), 2),
        }


def _recall(scored: NDArray[np.float64]) -> float:
    return float(scored[:, 0].mean())


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", default="small")


def run(arguments: argparse.Namespace) -> None:
    encoder = SpikingEncoder.from_pretrained(arguments.weights)
    for row in shares(encoder, True, MARGINS):
        print(json.dumps(row), flush=True)
    for name, half in (("development", True), ("other half", False)):
        print(name, json.dumps(next(shares(encoder, half, (MARGIN,)))))
