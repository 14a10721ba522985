"""Fit the constants of HyMem's ranking to the development collections, and write them.

Five small models, each on top of the one before: what chance brings; the relevance of a turn
(listwise, every collection counting alike); whether anything is found (own against foreign
questions, in scopes of ten turns to a hundred thousand); the probability that a turn is evidence;
and whether the best few turns suffice.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.collections import COLLECTIONS, Memory, Question, load
from evals.collections.base import dice
from evals.collections.scopes import SIZES, merged, resized
from evals.examples import Example, constants, example, fit, loaded, logistic
from evals.results import measured_code
from evals.systems.encoders import load_encoder
from evals.systems.hymem import HyMemMemory
from hymem.read import calibration, ranking
from hymem.read.features import SHORT
from hymem.read.query import Query
from hymem.types import Encoder, Scope

Floats = NDArray[np.float64]

LATE = ("dense", "late", "late_window")
LATE_NAMED = (*LATE, "session_late", "named")
PLAIN = ("dense", "coverage", "coverage_window", "named")
# What may be known of a question's best matches: without token codes, with words or vectors alone.
MEASURED = ("late+dense+coverage", "dense+coverage", "late+dense", "dense", "coverage")
# Too few of the questions name a date to fit its weight: enough to decide between near matches,
# less than LOCOMO's own questions would give it (3.2).
TIME = 2.0
# Memories of a collection that are looked at, every so manieth: long haystacks take long to load.
STEPS = {"longmemeval": 12, "long replies": 4, "allusions": 2, "preferences": 2, "meetings": 2}
# Collections of questions that one memory answers and another does not. Meetings are of a kind
# (many design a remote control), so a foreign question may well have an answer; and what a message
# alludes to, or a request has to do with a taste, is no question of found or not found.
ASKING = ("locomo", "longmemeval")
PER_SIZE = 60  # own questions a collection and size, and as many foreign ones
# Foreign questions name nobody of the memory they are asked of, which alone would tell them. So
# every so manieth is asked with the names of those who speak there.
RENAMED_STEP = 3
# Share of own questions that must count as found.
OWN_FOUND = 0.985
# Share of the questions whose evidence a full block of 1,000 tokens holds that an adaptive one must
# hold as well.
KEPT = 0.98
BUDGET = 1000
EXPENDABLE = (0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.1)
Opened = tuple[Memory, HyMemMemory]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question put to a memory, its own or not, in a scope of ``turns`` turns."""

    collection: str
    own: bool
    turns: int
    presence: dict[str, float]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="folder of the data (default: HYMEM_DATA)")
    parser.add_argument("--encoder", default="spiking")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path(str(calibration.__file__)),
        help="module to write (default: the one that HyMem reads)",
    )


def run(options: argparse.Namespace) -> None:
    encoder = load_encoder(options.encoder)
    memories = {name: read(name, options.data) for name in COLLECTIONS}
    with ExitStack() as stack:
        opened = {
            name: [(memory, stack.enter_context(loaded(memory, encoder))) for memory in part]
            for name, part in memories.items()
        }
        values = calibrated(opened, encoder)
    options.out.write_text(source(values, memories, encoder), encoding="utf-8")
    _note(f"written: {options.out}")


def read(name: str, data: Path | None) -> list[Memory]:
    """The memories of a collection that are looked at."""
    return list(islice(load(name, data).memories, 0, None, STEPS.get(name, 1)))


def calibrated(
    opened: Mapping[str, Sequence[Opened]], encoder: Encoder, sizes: Sequence[int] = SIZES
) -> dict[str, Any]:
    """All constants of ``hymem.read.calibration``."""
    _note("chance")
    values: dict[str, Any] = chance(opened)
    with constants(**values):
        _note("relevance")
        examples = {
            name: [
                example(hymem, question) for memory, hymem in part for question in memory.questions
            ]
            for name, part in opened.items()
        }
        values |= fit_scores(examples)
        _note("found")
        values |= fit_found(ask_everyone(opened, encoder, sizes))
    with constants(**values):
        values |= fit_relevant(examples)
    with constants(**values):
        values |= fit_sufficient(examples)
        _note("adaptive")
        values |= fit_expendable(opened)
    return values


def fit_scores(examples: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """The weights of relevance, each model's on the questions that it is for."""
    named = {name: [one for one in part if one.named] for name, part in examples.items()}
    others = {name: [one for one in part if not one.named] for name, part in examples.items()}
    plain = {name: [one.without_late() for one in part] for name, part in examples.items()}
    return {
        "LATE": fit(others, LATE) | {"time": TIME},
        "LATE_NAMED": fit(named, LATE_NAMED) | {"time": TIME},
        "PLAIN": fit(plain, PLAIN) | {"time": TIME},
    }


def chance(opened: Mapping[str, Sequence[Opened]]) -> dict[str, float]:
    """Mean and spread of unrelated turns' matches, length taken off."""
    dense: list[tuple[float, float]] = []
    late: list[float] = []
    for part in opened.values():
        for memory, hymem in part[:5]:
            retriever = hymem.hymem._parts.retriever
            for question in memory.questions[:20]:
                query = Query(Scope(hymem.user_id), question.text, hymem.now)
                found, _ = retriever.examine(retriever.encoded(query), 1)
                here = found.dense[found.sample].astype(np.float64)
                length = np.log(found.passage_tokens[found.sample] + SHORT)
                off = length - length.mean()
                slope = float(off @ here) / max(float(off @ off), 1e-9)
                dense.append((float(here.mean()), float((here - slope * off).std())))
                late.append(float(found.late[found.sample].mean()))
    mean, spread = np.mean(dense, axis=0).tolist()
    return {"DENSE_MEAN": mean, "DENSE_SPREAD": spread, "LATE_MEAN": float(np.mean(late))}


# -- found or not found --------------------------------------------------------------------------


def ask_everyone(
    opened: Mapping[str, Sequence[Opened]], encoder: Encoder, sizes: Sequence[int]
) -> list[Asked]:
    """Own and foreign questions in scopes of every size."""
    asked: list[Asked] = []
    for name in ASKING:
        part = opened[name]
        for at, (memory, hymem) in enumerate(part):
            others = [q for other, _ in (*part[:at], *part[at + 1 :]) for q in other.questions]
            roll = dice("asked", memory.history.id)
            own = roll.sample(memory.questions, min(len(memory.questions), 4 * PER_SIZE))
            foreign = roll.sample(others, min(len(others), max(len(own), 4)))
            foreign = [
                _renamed(question, memory, part) if number % RENAMED_STEP == 0 else question
                for number, question in enumerate(foreign)
            ]
            asked += _ask(name, hymem, own, foreign)
            for size in sizes:
                for question in roll.sample(own, min(len(own), max(PER_SIZE // len(part), 1))):
                    if size < len(memory.history.messages):
                        with loaded(resized(memory, question, size), encoder) as small:
                            asked += _ask(name, small, [question], [roll.choice(others)])
    memories = {name: [memory for memory, _ in part] for name, part in opened.items()}
    for size in sizes:
        if large := merged(memories, size, ASKING):
            whole, own, foreign = large
            with loaded(whole, encoder) as all_in_one:
                asked += _ask("merged", all_in_one, own, foreign)
    return asked


def _renamed(question: Question, memory: Memory, part: Sequence[Opened]) -> Question:
    """The question with the names of those who speak in ``memory`` in place of the others'."""
    mine = sorted({message.speaker for message in memory.history.messages})
    text = question.text
    for other, _ in part:
        theirs = sorted({message.speaker for message in other.history.messages})
        for old, new in zip(theirs, mine, strict=False):
            text = re.sub(rf"\b{re.escape(old)}\b", new, text)
    return replace(question, text=text)


def _ask(
    name: str, hymem: HyMemMemory, own: Sequence[Question], foreign: Sequence[Question]
) -> list[Asked]:
    turns = hymem.hymem.status(user_id=hymem.user_id).turns
    return [
        Asked(name, is_own, turns, example(hymem, question).presence)
        for is_own, questions in ((True, own), (False, foreign))
        for question in questions
    ]


def fit_found(asked: Sequence[Asked]) -> dict[str, Any]:
    """The models of "found", and the probability from which on something is."""
    own = np.array([one.own for one in asked])
    weights = np.where(own, 1 / own.sum(), 1 / (~own).sum())
    found: dict[str, dict[str, float]] = {}
    for measured in MEASURED:
        names = (*measured.split("+"), "named", "turns")
        inputs = np.array([[one.presence[name] for name in names] for one in asked])
        bias, *slopes = logistic(inputs, own, weights).tolist()
        found[measured] = dict(zip(names, slopes, strict=True)) | {"bias": bias}
    values: dict[str, Any] = {"FOUND": found}
    with constants(FOUND=found):
        chances = np.array([ranking.confidence_of(one.presence) for one in asked])
    values["FOUND_AT"] = float(np.quantile(chances[own], 1 - OWN_FOUND))
    kept = np.mean(chances[~own] < values["FOUND_AT"])
    _note(f"found: of {len(asked)} questions, foreign ones declined {kept:.3f}")
    named = np.array([bool(one.presence["named"]) for one in asked])
    for size in (*SIZES, 10**9):
        here = np.array([size / 3.2 < one.turns <= size * 3.2 for one in asked])
        told = [
            f"{group}: {_share(accepted, here & mask)}"
            for group, mask, accepted in (
                ("own", own, chances >= values["FOUND_AT"]),
                ("foreign", ~own, chances < values["FOUND_AT"]),
                ("foreign that name who speaks here", ~own & named, chances < values["FOUND_AT"]),
            )
        ]
        if here.any():
            _note(f"  about {size} turns: " + ", ".join(told))
    return values


def _share(right: NDArray[np.bool_], among: NDArray[np.bool_]) -> str:
    return f"{right[among].mean():.3f}" if among.any() else "none"


# -- what is evidence, and what suffices ---------------------------------------------------------


def fit_relevant(examples: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """The probability that a turn is evidence, from its share and whether anything is found."""
    inputs, labels, weights = [], [], []
    for part in examples.values():
        for one in part:
            scores = ranking.scores(one.items)
            share = ranking.log_share(scores)
            found = ranking.logit(ranking.confidence_of(one.presence))
            inputs.append(np.column_stack([share, np.full(len(share), found)]))
            evidence = np.zeros(len(share), bool)
            evidence[one.evidence] = True
            labels.append(evidence)
            weights.append(np.full(len(share), 1 / len(part)))
    fitted = logistic(np.concatenate(inputs), np.concatenate(labels), np.concatenate(weights))
    bias, share, found = fitted.tolist()
    return {"RELEVANT": {"share": share, "found": found, "bias": bias}}


def fit_sufficient(examples: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """The probability that the best ``ranking.LIGHT_RANKS`` turns hold all the evidence."""
    inputs, labels, weights = [], [], []
    for part in examples.values():
        for one in part:
            scores = ranking.scores(one.items)
            chances = ranking.relevance(scores, ranking.confidence_of(one.presence))
            best = np.argsort(-scores, kind="stable")[: ranking.LIGHT_RANKS]
            inputs.append(list(ranking.sufficiency(chances).values()))
            labels.append(not one.missing and set(one.evidence.tolist()) <= set(best.tolist()))
            weights.append(1 / len(part))
    bias, top, tail = logistic(np.array(inputs), np.array(labels), np.array(weights)).tolist()
    return {"SUFFICIENT": {"top": top, "tail": tail, "bias": bias}}


def fit_expendable(opened: Mapping[str, Sequence[Opened]]) -> dict[str, Any]:
    """The largest share of the expected evidence that an adaptive budget may leave out so that
    ``KEPT`` of the questions answered by a full one still are."""
    full: list[tuple[bool, int]] = []
    less: dict[float, list[tuple[bool, int]]] = {step: [] for step in EXPENDABLE}
    for name in ASKING:
        for memory, hymem in opened[name]:
            for question in memory.questions:
                evidence = set(question.evidence)
                recalled = hymem.recall(question.text, BUDGET)
                full.append((evidence <= recalled.messages, recalled.tokens))
                for step in EXPENDABLE:
                    with constants(EXPENDABLE=step):
                        recalled = hymem.recall(question.text, BUDGET, adaptive=True)
                    less[step].append((evidence <= recalled.messages, recalled.tokens))
    best = EXPENDABLE[0]
    for step, outcomes in less.items():
        kept = sum(held for held, _ in outcomes) / max(sum(held for held, _ in full), 1)
        share = sum(size for _, size in outcomes) / sum(size for _, size in full)
        _note(f"adaptive, {step}: {kept:.3f} kept at {share:.3f} of the tokens")
        if kept >= KEPT:
            best = step
    return {"EXPENDABLE": best}


# -- writing -------------------------------------------------------------------------------------

_HEAD = '''"""Constants of the scores (`hymem.read.ranking`, `hymem.read.features`), written by
``hymem-eval calibrate``. Change them by running it, not by hand.

Fitted at commit {commit} with the encoder {encoder}
{collections}
"""

from __future__ import annotations

'''
_ABOUT = {
    "DENSE_MEAN": "What an unrelated turn has by chance: mean and spread of its cosine to a "
    "question, and the\n# mean of late interaction; with the default encoder.",
    "LATE": "Log-odds that a turn holds part of the answer, against the other turns: for encoders "
    "with token\n# codes, where the question names nobody who speaks, and where it does; and for "
    "other encoders.",
    "FOUND": "Log-odds that memory holds anything on the question, by what is measured; and the "
    "probability\n# from which on that counts as found: {own:.1%} of own questions reach it.",
    "RELEVANT": "Log-odds that a turn is evidence, from its share of the scores and whether "
    "anything is found.",
    "SUFFICIENT": "Log-odds that the best few turns hold all the evidence; below the probability "
    "GATE, which is set\n# and not fitted, the deep tier is asked.",
    "EXPENDABLE": "Share of the evidence expected in a full block that an adaptive one leaves out.",
    "NEWER": "Chosen by hand on the development collections. In a search the newer of those "
    "within\n# NEWER_WITHIN of the best gain up to NEWER as log-odds; so much of it where the "
    "question does not\n# ask for now.",
    "STEP": "In a block a turn counts as much as one beside it, less STEP for each step away (1 "
    "to 3 tried);\n# odds are divided by a text's tokens to the power LENGTH_PENALTY (0 to 1.3 "
    "tried); the further\n# passages of a long text count FURTHER less, and each FURTHER_STEP less "
    "than the one before: a good\n# text is better read whole, but not if it is endless (0.7 to 3 "
    "and 0 to 1.5 tried).",
}


def source(
    values: Mapping[str, Any], memories: Mapping[str, Sequence[Memory]], encoder: Encoder
) -> str:
    """The text of ``hymem/read/calibration.py``."""
    told = ", ".join(
        f"{name} ({sum(len(memory.questions) for memory in part)} questions)"
        for name, part in memories.items()
    )
    lines = _wrapped(f"on the development collections of ``evals``: {told}.")
    head = _HEAD.format(
        commit=(measured_code()["commit"] or "unknown")[:10],
        encoder=encoder.version,
        collections=lines,
    )
    order = ["DENSE_MEAN", "DENSE_SPREAD", "LATE_MEAN", "LATE", "LATE_NAMED", "PLAIN"]
    order += ["FOUND", "FOUND_AT", "RELEVANT", "SUFFICIENT", "GATE", "EXPENDABLE"]
    order += ["NEWER", "NEWER_WITHIN", "NEWER_OTHERWISE"]
    order += ["STEP", "LENGTH_PENALTY", "FURTHER", "FURTHER_STEP"]
    parts = []
    for name in order:
        if name in _ABOUT:
            parts.append(f"# {_ABOUT[name].format(own=OWN_FOUND)}\n")
        value = values.get(name, getattr(calibration, name))
        parts.append(f"{name} = {_literal(value)}\n")
    return head + "".join(parts)


def _literal(value: Any, indent: str = "") -> str:
    if not isinstance(value, Mapping):
        return f"{value:.4f}"
    inner = indent + "    "
    body = "".join(f'{inner}"{key}": {_literal(item, inner)},\n' for key, item in value.items())
    return f"{{\n{body}{indent}}}"


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 98))


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
