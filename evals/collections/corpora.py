"""The open corpora that collections are made of (``distill/`` of the data folder).

Their lines stand in the order in which they were said, each once; a pair "this line, then that one"
tells where a talk goes on.
"""

from __future__ import annotations

import json
import lzma
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from evals.data.files import DataError, cache_dir

# Talks of fewer lines say too little to be a session of their own.
SHORTEST_TALK = 5
LONGEST_TALK = 14
_GREETINGS = ("hi", "hi,", "hi!", "hello", "hello,", "hello!", "hey", "hey,", "hey!")


@dataclass(frozen=True, slots=True)
class Talk:
    """``sure``: talks whose every line is known to answer the one before, speakers alternating.
    ``loose``: lines of talks about oneself in the order in which they were said, some missing."""

    sure: Sequence[Sequence[str]]
    loose: Sequence[Sequence[str]]


def talk(data: Path | None = None) -> Talk:
    """Topical-Chat and SynthPersonaChat as sure talks, the latter as loose ones too. Raises
    ``DataError``."""
    folder = distill(data)
    sure: list[Sequence[str]] = []
    for corpus in ("topicalchat", "synthpersonachat"):
        lines = _lines(folder, corpus)
        follows = set(_pairs(folder, corpus, "dialogue_next"))
        sure += _cut(lines, [pair in follows for pair in pairwise(lines)])
    goes_on = [line.split(" ", 1)[0].lower() not in _GREETINGS for line in lines[1:]]
    return Talk(sure, _cut(lines, goes_on))


def meeting_questions(data: Path | None = None) -> list[tuple[str, str]]:
    """Queries on meetings with the spans that answer them, "Speaker: …" end to end (QMSum)."""
    return list(_pairs(distill(data), "qmsum", "dialogue_qa"))


def distill(data: Path | None) -> Path:
    """The folder of the corpora. Raises ``DataError``."""
    root = Path(data or os.environ.get("HYMEM_DATA") or cache_dir())
    folder = root / "distill"
    if not folder.is_dir():
        raise DataError(
            f"no folder distill in {root}: set HYMEM_DATA or --data to the folder of the corpora "
            "that the encoder is trained on (snn_encoder/README.md says where they come from)"
        )
    return folder


def _lines(folder: Path, corpus: str) -> list[str]:
    with lzma.open(folder / "text" / f"{corpus}.txt.xz", "rt", encoding="utf-8") as stream:
        return [line.strip() for line in stream if line.strip()]


def _pairs(folder: Path, corpus: str, kind: str) -> Iterator[tuple[str, str]]:
    path = folder / "pairs" / "pairs_open.jsonl.xz"
    with lzma.open(path, "rt", encoding="utf-8") as stream:
        for line in stream:
            pair = json.loads(line)
            if pair["src"] == corpus and pair["type"] == kind:
                yield pair["q"], pair["p"]


def _cut(lines: Sequence[str], goes_on: Sequence[bool]) -> list[Sequence[str]]:
    """Runs of lines of which each goes on with the talk, none too short or too long."""
    runs: list[list[str]] = [[lines[0]]] if lines else []
    for line, same in zip(lines[1:], goes_on, strict=False):
        if not same or len(runs[-1]) == LONGEST_TALK:
            runs.append([])
        runs[-1].append(line)
    return [run for run in runs if len(run) >= SHORTEST_TALK]
