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
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime

from evals import metrics
from evals.data.history import longmemeval_history
from evals.data.loaders import DataFile, LongMemEvalQuestion, stream_longmemeval
from evals.results import Observation
from evals.systems.hymem import HyMemMemory, System

KS = (1, 3, 5, 10, 30)
DEPTH = 200  # ranked messages that are looked at, enough to reach thirty sessions
PAST_DEPTH = 10  # where the older evidence must stand, asked as of before the change
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
        moment = before_change(question)
        for system in systems:
            started = time.perf_counter()
            memory = system.load(history)
            try:
                ranked = memory.rank(question.text, DEPTH)
                past = None
                if moment is not None and isinstance(memory, HyMemMemory):
                    past = memory.rank(question.text, PAST_DEPTH, as_of=moment)
            finally:
                memory.close()
            if seconds is not None:
                spent = time.perf_counter() - started
                seconds[system.name] = seconds.get(system.name, 0.0) + spent
            yield from observe(system.name, question, ranked, past)


def observe(
    system: str,
    question: LongMemEvalQuestion,
    ranked: Sequence[str],
    past: Sequence[str] | None = None,
) -> Iterator[Observation]:
    """Score one ranking of message ids (``session:turn``) under each rule. ``past``: the ranking as
    of ``before_change``, if the system can tell."""
    turns, sessions = user_evidence(question)
    ranked_sessions = session_ids(question, ranked)
    everything = strict_values("session", ranked_sessions, set(question.answer_sessions))
    if turns:
        values = everything | strict_values("turn", ranked, turns)
        times = update_times(question, turns)
        values |= newest_first(times, ranked)
        if past is not None:
            values |= older_first(times, past)
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


def update_times(question: LongMemEvalQuestion, turns: Collection[str]) -> dict[str, datetime]:
    """When each evidence turn of a knowledge update was said; empty for any other question, and
    where all were said at once."""
    times = {turn: question.sessions[int(turn.split(":")[0])].time for turn in turns}
    several = question.type == "knowledge-update" and len(set(times.values())) > 1
    return times if several else {}


def before_change(question: LongMemEvalQuestion) -> datetime | None:
    """The moment half-way between the newest evidence of a knowledge update and the one before;
    ``None`` where there are not two times."""
    times = sorted(set(update_times(question, user_evidence(question)[0]).values()))
    return times[-2] + (times[-1] - times[-2]) / 2 if times else None


def newest_first(times: Mapping[str, datetime], ranked: Sequence[str]) -> Values:
    """For ``update_times``: 1.0 when the newest evidence turn is ranked above every older one, 0.0
    also when it is not found at all."""
    if not times:
        return {}
    first = next((turn for turn in ranked if turn in times), None)
    right = first is not None and times[first] == max(times.values())
    return {("newer evidence first", None): float(right)}


def older_first(times: Mapping[str, datetime], past: Sequence[str]) -> Values:
    """For ``update_times`` and the ranking as of ``before_change``: 1.0 when the first evidence
    turn among the first ``PAST_DEPTH`` is an older one, 0.0 also when there is none."""
    if not times:
        return {}
    first = next((turn for turn in past[:PAST_DEPTH] if turn in times), None)
    right = first is not None and times[first] < max(times.values())
    return {("older evidence first as of before the change", None): float(right)}
