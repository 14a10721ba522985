"""Extraction by a model (arXiv 2602.13933, Level-1 units): events in, dated statements out.

Messages are shown to the model under small numbers, and statements cite those; a number that was
not shown is ignored and counted. Long events are read in several calls, short ones share one.
"""

from __future__ import annotations

import logging
import re
from calendar import monthrange
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from typing import TYPE_CHECKING, TypeAlias

from hymem.dates import Days, annotate, meet, named, occurrence
from hymem.errors import BudgetError, HyMemError, LLMError, LLMOutputError, PriceError
from hymem.prompts import load
from hymem.system.pool import SCOPES_AT_ONCE, Pool
from hymem.text.block import cited, render
from hymem.text.keys import strip_recalled
from hymem.text.passages import with_text
from hymem.text.tokens import count_many, count_tokens
from hymem.types import LLM, CallCounter, Statement, Turn

if TYPE_CHECKING:
    from hymem.prompts.schemas import StatementReply

log = logging.getLogger(__name__)

# The statements of a call, each with the turns that it cites, and how much was ignored.
_Read: TypeAlias = "tuple[list[tuple[StatementReply, list[Turn]]], int]"

# Events up to this length share a call: the instructions are then paid for once.
BATCH_TOKENS = 1500
# What one call is given at most; models overlook facts in longer texts.
CALL_TOKENS = 4000
CALLS_AT_ONCE = 4
# Longer runs without a space are no words; they are cut anywhere.
WORD_CHARACTERS = 100
_UNBOUNDED = 10**9
_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?(?:[T ].*)?")


class LLMExtractor:
    """``Extractor`` on a chat model. ``ignored`` counts citations of messages never shown, and
    statements left out because they cited no other. Thread-safe."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self._pool = Pool(CALLS_AT_ONCE * SCOPES_AT_ONCE, "hymem-extract-call")
        self.ignored = 0

    def metered(self, counter: CallCounter) -> LLMExtractor:
        """This extractor, with its calls counted as stage ``extract``."""
        return LLMExtractor(counter.ambient_llm(self._llm, "extract"))

    def extract(self, events: Sequence[Sequence[Turn]]) -> list[list[Statement] | HyMemError]:
        """One list of statements per event, in order; see ``hymem.types.Extractor``.

        In the place of an event that a call failed for stands its ``LLMError`` (the model cannot be
        reached), ``LLMOutputError`` (it gives nothing usable), ``BudgetError`` or ``PriceError``;
        what the other calls gave is kept.
        """
        calls = list(_calls(events))
        found: list[list[Statement]] = [[] for _ in events]
        failed: dict[int, HyMemError] = {}
        reads = self._ask_all([turns for _, turns in calls])
        for (numbers, _), read in zip(calls, reads, strict=True):
            if isinstance(read, HyMemError):
                failed |= dict.fromkeys(numbers, read)
                continue
            kept, ignored = read
            self.ignored += ignored
            for reply, sources in kept:
                index, places = _home(events, [turn.id for turn in sources])
                found[index].append(_statement(reply, sources, places))
        return [failed.get(number, statements) for number, statements in enumerate(found)]

    def _ask_all(self, calls: Sequence[Sequence[Turn]]) -> list[_Read | HyMemError]:
        """All calls, several at once; the ledger's request at hand is known to each."""
        if len(calls) < 2:
            return [self._try(turns) for turns in calls]
        left = deque(range(len(calls)))
        reads: dict[int, _Read | HyMemError] = {}

        def some(_: int) -> None:
            while left:
                try:
                    number = left.popleft()
                except IndexError:  # another thread was quicker
                    return
                reads[number] = self._try(calls[number])

        try:
            self._pool.each(some, range(min(CALLS_AT_ONCE, len(calls))))
        finally:
            left.clear()  # where the wait was interrupted
        return [reads[number] for number in range(len(calls))]

    def _try(self, turns: Sequence[Turn]) -> _Read | HyMemError:
        try:
            return self._ask(turns)
        except (LLMError, BudgetError, PriceError) as error:
            return error

    def _ask(self, turns: Sequence[Turn]) -> _Read:
        from hymem.prompts.schemas import ExtractReply

        block = render(turns, _UNBOUNDED, numbered=True)
        messages = load("extract").messages(memory=block.text)
        reply: ExtractReply = self._llm.complete(messages, ExtractReply).value
        kept, ignored = [], 0
        for statement in reply.statements:
            items, unknown = cited(statement.sources, block.used)
            ignored += unknown
            sources = [item for item in items if isinstance(item, Turn)]
            if sources and statement.text.strip():
                kept.append((statement, sources))
            else:
                ignored += 1
        if ignored:
            log.warning("extraction: %d citations or statements ignored", ignored)
        if reply.statements and not kept:
            problem = "no extracted statement cites a message that was shown"
            raise LLMOutputError(problem, hint=problem)
        return kept, ignored


def _calls(events: Sequence[Sequence[Turn]]) -> Iterator[tuple[list[int], list[Turn]]]:
    """The numbers of the events that each call is about, and its turns. A turn that two events
    share is shown once in a call."""
    batch: dict[int, Turn] = {}
    numbers: list[int] = []
    batch_tokens = 0
    for number, event in enumerate(events):
        turns = [with_text(turn, strip_recalled(turn.text)) for turn in event]
        turns = [turn for turn in turns if turn.text.strip()]
        tokens = sum(count_many([turn.text for turn in turns]))
        if tokens > BATCH_TOKENS:
            yield from (([number], portion) for portion in _split(turns))
            continue
        if batch and batch_tokens + tokens > BATCH_TOKENS:
            yield numbers, list(batch.values())
            batch, numbers, batch_tokens = {}, [], 0
        batch |= {turn.id: turn for turn in turns}
        numbers.append(number)
        batch_tokens += tokens
    if batch:
        yield numbers, list(batch.values())


def _split(turns: Sequence[Turn]) -> Iterator[list[Turn]]:
    """A long event in portions of ``CALL_TOKENS``."""
    portion: list[Turn] = []
    portion_tokens = 0
    for turn in turns:
        for piece in _pieces(turn):
            tokens = count_tokens(piece.text)
            if portion and portion_tokens + tokens > CALL_TOKENS:
                yield portion
                portion, portion_tokens = [], 0
            portion.append(piece)
            portion_tokens += tokens
    if portion:
        yield portion


def _pieces(turn: Turn) -> Iterator[Turn]:
    """A turn too long for one call, cut between words; all pieces keep its id."""
    from snn_encoder.tokenizer import load_tokenizer

    offsets = load_tokenizer().encode(turn.text, add_special_tokens=False).offsets
    start = 0
    for token in range(CALL_TOKENS, len(offsets), CALL_TOKENS):
        end = offsets[token][0]
        space = turn.text.rfind(" ", max(start + 1, end - WORD_CHARACTERS), end)
        end = end if space < 0 else space
        yield with_text(turn, turn.text[start:end])
        start = end
    yield with_text(turn, turn.text[start:])


def _home(events: Sequence[Sequence[Turn]], ids: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """The event that holds most of the cited turns, the later one of two (an overlap belongs to
    the event it leads into), and their places in it."""
    places = [
        tuple(place for place, turn in enumerate(event) if turn.id in ids) for event in events
    ]
    index = max(range(len(events)), key=lambda number: (len(places[number]), number))
    return index, places[index]


def _statement(
    reply: StatementReply, sources: Sequence[Turn], places: tuple[int, ...]
) -> Statement:
    """A checked statement: no relative date is left in its text, and its date is one of the
    calendar and agrees with what its sources say."""
    said = sources[0].time
    text = " ".join(reply.text.split())
    happened = _checked(_days(reply.date), sources)
    return Statement(
        text if said is None else annotate(text, said, happened),
        places,
        happened and datetime.combine(happened[0], time(), said.tzinfo if said else None),
        reply.subject or None,
        reply.attribute or None,
    )


def _days(text: str | None) -> Days | None:
    """The day, month or year that the model gave; ``None`` if it is none of the calendar."""
    match = _DATE.fullmatch((text or "").strip())
    if match is None:
        return None
    parts = [int(part) for part in match.groups() if part]
    try:
        first = date(*[*parts, 1, 1][:3])
    except ValueError:
        return None
    if len(parts) == 3:
        return first, first
    month = first.month if len(parts) == 2 else 12
    return first, date(first.year, month, monthrange(first.year, month)[1])


def _checked(given: Days | None, sources: Sequence[Turn]) -> Days | None:
    """The days that the model gave, unless the sources name one date only and its words cannot
    mean them: then that date. Models miscount what is relative ("last week"); but which year a
    bare "June 30" is of, a model that read the conversation knows best."""
    if given is None:
        return None
    spans = [
        (turn.text, span, turn.time)
        for turn in sources
        if turn.time
        for span in named(turn.text, turn.time)
    ]
    if len(spans) != 1:
        return given
    text, span, said = spans[0]
    if span.absolute or span.open or meet(given, span.days) or occurrence(text, span, given, said):
        return given
    return span.days
