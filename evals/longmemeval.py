"""LongMemEval retrieval: are the evidence sessions and turns among the first k?

Rules, side by side, because published figures mix them (questions that end in ``_abs`` have no
evidence and are left out of all three):

- ``strict``: every answer session is evidence; questions without evidence in the user's own turns
  are left out. Turns: the user's turns that hold evidence.
- ``original``: evidence is what the user said, and a question without any counts all the same, with
  ``recall_all = 1``, as in the benchmark's own script; its nDCG does not discount rank 2.
- ``every question``: every answer session is evidence, and no question is left out.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

from evals import metrics
from evals.data import DataFile, LongMemEvalQuestion, stream_longmemeval
from evals.history import longmemeval_history
from evals.results import Observation
from evals.systems import System

KS = (1, 3, 5, 10, 30)
DEPTH = 200  # ranked messages that are looked at, enough to reach thirty sessions
USER_SIDE = ("user",)
BOTH_SIDES = ("user", "assistant")

Values = dict[tuple[str, int | None], float]


def evaluate(
    systems: Sequence[System],
    file: DataFile,
    *,
    roles: Collection[str] = USER_SIDE,
    part: tuple[int, int] = (0, 1),
    seconds: dict[str, float] | None = None,
) -> Iterator[Observation]:
    """Yield the observations of each question and system, one per rule. Only messages of ``roles``
    are given to the systems. ``part`` (i, n): every n-th question, from the i-th. ``seconds``: into
    this is added what each system took."""
    for number, question in enumerate(stream_longmemeval(file)):
        if question.abstention or number % part[1] != part[0]:
            continue
        history = longmemeval_history(question, roles)
        for system in systems:
            started = time.perf_counter()
            memory = system.load(history)
            try:
                ranked = memory.rank(question.text, DEPTH)
            finally:
                memory.close()
            if seconds is not None:
                spent = time.perf_counter() - started
                seconds[system.name] = seconds.get(system.name, 0.0) + spent
            yield from observe(system.name, question, ranked)


def observe(
    system: str, question: LongMemEvalQuestion, ranked: Sequence[str]
) -> Iterator[Observation]:
    """Score one ranking of message ids (``session:turn``) under each rule."""
    turns, sessions = user_evidence(question)
    ranked_sessions = session_ids(question, ranked)
    everything = strict_values("session", ranked_sessions, set(question.answer_sessions))
    if turns:
        values = everything | strict_values("turn", ranked, turns)
        values |= newest_first(question, ranked, turns)
        yield Observation(system, question.id, ("strict", f"strict, {question.type}"), values)
    values = original_values("session", ranked_sessions, sessions)
    values |= original_values("turn", ranked, turns)
    yield Observation(system, question.id, ("original",), values)
    groups = ("every question", f"every question, {question.type}")
    yield Observation(system, question.id, groups, everything)


def user_evidence(question: LongMemEvalQuestion) -> tuple[set[str], set[str]]:
    """Message ids of the user's turns that hold evidence, and the ids of their sessions."""
    wanted = set(question.answer_sessions)
    turns, sessions = set(), set()
    for number, session in enumerate(question.sessions):
        for index, turn in enumerate(session.turns):
            if session.id in wanted and turn.role == "user" and turn.has_answer:
                turns.add(f"{number}:{index}")
                sessions.add(session.id)
    return turns, sessions


def session_ids(question: LongMemEvalQuestion, ranked: Sequence[str]) -> list[str]:
    """Session ids in the order in which their best message was found."""
    numbers = (int(message.split(":")[0]) for message in ranked)
    return list(dict.fromkeys(question.sessions[number].id for number in numbers))


def strict_values(level: str, ranked: Sequence[str], relevant: Collection[str]) -> Values:
    values: Values = {}
    for k in KS:
        values[f"{level} recall_any@k", k] = metrics.recall_any_at(ranked, relevant, k)
        values[f"{level} recall_all@k", k] = metrics.recall_all_at(ranked, relevant, k)
        values[f"{level} nDCG@k", k] = metrics.ndcg_at(ranked, relevant, k)
    return values


def original_values(level: str, ranked: Sequence[str], relevant: Collection[str]) -> Values:
    values: Values = {}
    for k in KS:
        values[f"{level} recall_any@k", k] = metrics.recall_any_at(ranked, relevant, k)
        values[f"{level} recall_all@k", k] = metrics.recall_all_at(ranked, relevant, k)
        values[f"{level} nDCG@k (original)", k] = metrics.ndcg_original_at(ranked, relevant, k)
    return values


def newest_first(
    question: LongMemEvalQuestion, ranked: Sequence[str], turns: Collection[str]
) -> Values:
    """For a knowledge update whose evidence has several times: 1.0 when the newest evidence turn
    is ranked above every older one, 0.0 also when it is not found at all."""
    times = {turn: question.sessions[int(turn.split(":")[0])].time for turn in turns}
    if question.type != "knowledge-update" or len(set(times.values())) < 2:
        return {}
    newest = max(times.values())
    first = next((turn for turn in ranked if turn in times), None)
    return {("newer evidence first", None): float(first is not None and times[first] == newest)}
