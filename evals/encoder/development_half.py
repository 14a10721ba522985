"""LOCOMO's development half as a file for --dev of snn_encoder's commands.

One line a conversation, with the check of `hymem-eval encoder quality`: observations as keys, and
for each evidence turn of a question the observations that give it. The file holds text of the data
set: do not publish it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from evals import metrics
from evals.data.loaders import LocomoConversation, is_development, load_locomo


def collections(conversations: Iterable[LocomoConversation]) -> Iterator[dict[str, Any]]:
    """Yield a collection as `snn_encoder.evaluate.recall` reads it per development conversation."""
    for conversation in conversations:
        if not is_development(conversation.id):
            continue
        units = conversation.observations
        given = [metrics.linked([], [unit.sources]) for unit in units]
        queries = [
            (q.text, [[i for i, turns in enumerate(given) if e in turns] for e in q.evidence])
            for q in conversation.questions
            if q.category <= 4 and q.evidence
        ]
        yield {"keys": [unit.text for unit in units], "queries": queries}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="JSON lines")


def run(arguments: argparse.Namespace) -> None:
    with arguments.out.open("w", encoding="utf-8") as file:
        for collection in collections(load_locomo().conversations):
            file.write(json.dumps(collection) + "\n")
