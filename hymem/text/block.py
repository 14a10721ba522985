"""Recalled text as a model is to see it: dated, attributed, tagged, and never over its budget.

One block holds lines by session::

    <recalled_memory>
    [2 March 2026]
    Ana: I moved to Lyon last week.
    </recalled_memory>

Only HyMem writes at the beginning of a line: a stored text's own line breaks are indented, and
whatever in it could be taken for the tag is defused. So no stored text can close the block or
forge a date, a speaker or another block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache
from itertools import islice

from hymem.text.passages import Span, best_first, excerpt_of
from hymem.text.tokens import count_tokens
from hymem.types import Hit, Turn

OPEN = "<recalled_memory>"
CLOSE = "</recalled_memory>"
_UNDATED = "undated"
# Whatever str.splitlines() or a renderer may take for a line's end.
_ODD_LINE_END = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]")
_LINE_END = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# Up to the next "<" only: a long run of them would take quadratic time.
_TAG = re.compile(r"<(?=[^\w<]*recalled_memory)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A block of text, its length in tokens and the items in it, as they are shown, in the order in
    which they were chosen. All empty when nothing fitted. ``complete``: every item is in it, and
    with its whole text."""

    text: str
    tokens: int
    used: tuple[Hit | Turn, ...]
    complete: bool = False


# A passage of a long text and its place among the items of a block: (item, passage). Of a text in
# one piece the only one is 0.
Part = tuple[int, int]
# Where nothing else is known, each further passage of a text waits for the next so many texts.
LATER = 4
# Less of a text than so many tokens is not worth showing beside others.
LEAST_CUT = 12
# What may stand around a passage, in tokens: a mark on either side.
_MARKS = 2
_LONGEST_TOKEN = 100  # characters, but for runs of spaces
# A longer word is one token to the tokenizer, but to `count_tokens` one for every so many
# characters: it is cut between them.
_PIECE = 4
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s)|\n|[。！？]")
EMPTY = Rendered("", 0, ())


def render(
    items: Sequence[Hit | Turn],
    max_tokens: int,
    *,
    order: Sequence[Part] | None = None,
    numbered: bool = False,
    note: str = "",
    instead: Callable[[Hit | Turn], Hit | None] = lambda item: None,
) -> Rendered:
    """The block for ``items``, as many of their passages as fit into ``max_tokens``.

    ``order``: all passages, best first; by default the items' best ones in order, their others
    later. It is the same for every ``max_tokens``, and the first passage that does not fit ends the
    block: of an item that is not shown yet with what ``instead`` gives for it, if that fits, else
    cut, to whole sentences where one fits. So a larger block tells whatever a smaller one told. The
    block itself is in order of time, below ``note``, a line of HyMem's own. A block that would hold
    nothing is the empty text. With ``numbered``, its lines are numbered from 1, so that a model can
    cite them, and ``used`` is in the order of these numbers.
    """
    block = _Filling(items, max_tokens, f"{OPEN}\n{note}" if note else OPEN, numbered)
    for place, passage in _in_turn(items) if order is None else order:
        if not block.takes(place, passage):
            block.end_with(place, passage, instead)
            break
    return block.rendered()


class _Filling:
    """A block while it is being filled."""

    def __init__(
        self, items: Sequence[Hit | Turn], max_tokens: int, opening: str, numbered: bool
    ) -> None:
        self._items, self._max, self._opening, self._numbered = items, max_tokens, opening, numbered
        self._number = count_tokens(f"{len(items)}. ") if numbered else 0
        self._room = max_tokens - count_tokens(f"{opening}\n{CLOSE}")
        self._exact = not numbered  # whether that is what is left, and not the least that is
        self._shown: dict[int, list[Span]] = {}  # of the items, in the order in which they came
        self._days: set[str] = set()
        self._last: Hit | None = None

    def takes(self, place: int, passage: int) -> bool:
        """Show a passage of the item at ``place``, if it fits."""
        item = self._items[place]
        frame = self._frame(place)
        start, end, length = _part(item, passage)
        if frame + length > self._room and not self._exact and not self._numbered:
            self._room = self._max - count_tokens(self._text(self._used()))
            self._exact = True
        if frame + length > self._room:
            return False
        self._show(place, start, end)
        self._exact = self._exact and not item.passages
        self._room -= frame + length
        return True

    def end_with(
        self, place: int, passage: int, instead: Callable[[Hit | Turn], Hit | None]
    ) -> None:
        """Fill what is left, too little for the passage."""
        item = self._items[place]
        if place not in self._shown:
            self._last = _fitting(instead(item), self._room - self._number, self._days)
        if self._last is not None:
            self._room -= self._number + _frame(self._last, self._days) + _part(self._last, 0)[2]
            return
        start, end, _ = _part(item, passage)
        frame = self._frame(place)
        kept = _cut(item, start, end, self._room - frame, LEAST_CUT if self._shown else 1)
        if kept is not None:
            self._show(place, start, kept)
            self._exact = self._exact and not item.passages
            self._room -= frame + count_tokens(defuse(item.text[start:kept].strip())) + 1

    def rendered(self) -> Rendered:
        used = self._used()
        complete = len(used) == len(self._items) and all(
            one is self._items[place] for one, place in zip(used, self._shown, strict=True)
        )
        if self._last is not None:
            used.append(self._last)
        if not used:
            return EMPTY
        if self._numbered:
            used.sort(key=_order)
        text = self._text(used)
        tokens = self._max - self._room if self._exact else count_tokens(text)
        return Rendered(text, tokens, tuple(used), complete)

    def _show(self, place: int, start: int, end: int) -> None:
        self._shown.setdefault(place, []).append((start, end))
        self._days.add(_head(self._items[place]))

    def _frame(self, place: int) -> int:
        """Tokens that a line takes beside its text, if it is new."""
        if place in self._shown:
            return 0
        return self._number + _frame(self._items[place], self._days)

    def _used(self) -> list[Hit | Turn]:
        return [excerpt_of(self._items[place], spans) for place, spans in self._shown.items()]

    def _text(self, used: Iterable[Hit | Turn]) -> str:
        # No token reaches over a line's end, so a block's tokens are its lines'.
        return "\n".join([self._opening, *_lines(used, self._numbered), CLOSE])


def _in_turn(items: Sequence[Hit | Turn]) -> list[Part]:
    parts = [
        (place + LATER * later, place, passage)
        for place, item in enumerate(items)
        for later, passage in enumerate(best_first(item))
    ]
    return [(place, passage) for _, place, passage in sorted(parts, key=lambda part: part[0])]


def _part(item: Hit | Turn, passage: int) -> tuple[int, int, int]:
    """Where a passage of the text begins and ends, and how long it is at most in a block."""
    if item.passages:
        one = item.passages[passage]
        odd = _ODD_LINE_END.search(item.text, one.start, one.end)
        tokens = count_tokens(defuse(item.text[one.start : one.end])) if odd else one.tokens
        return one.start, one.end, tokens + _MARKS
    if item.tokens and not _ODD_LINE_END.search(item.text):
        return 0, len(item.text), item.tokens
    return 0, len(item.text), count_tokens(defuse(item.text.strip()))


def _frame(item: Hit | Turn, days: Collection[str]) -> int:
    """Tokens of what a line has beside its text, and of its day's line unless it is in ``days``."""
    day = _head(item)
    return count_tokens(_speaker(item)) + (0 if day in days else count_tokens(day))


def _fitting(item: Hit | None, room: int, days: Collection[str]) -> Hit | None:
    """``item``, if it fits into ``room`` below the lines of ``days``."""
    if item is None:
        return None
    return item if _frame(item, days) + _part(item, 0)[2] <= room else None


def _cut(item: Hit | Turn, start: int, end: int, room: int, least: int) -> int | None:
    """Where a passage that is too long for ``room`` tokens is cut: behind whole sentences if one
    fits; ``None`` if fewer than ``least`` tokens fit."""
    from snn_encoder.tokenizer import load_tokenizer

    marks = _MARKS if item.passages else 1
    if room < least + marks:
        return None
    text = item.text[start:end]
    start += len(text) - len(text.lstrip())
    text = text.strip()[: room * _LONGEST_TOKEN]
    offsets = load_tokenizer().encode(text, add_special_tokens=False).offsets
    places = list(islice((place for token in offsets for place in _ends(*token)), room))
    # Indenting may add tokens to a line, so what fits is found by trying.
    for kept in range(len(places), least - 1, -1):
        beginning = text[: places[kept - 1]]
        if count_tokens(defuse(beginning)) + marks <= room:
            ends = [found.end() for found in _SENTENCE_END.finditer(beginning)]
            return start + (len(beginning[: ends[-1]].rstrip()) if ends else len(beginning))
    return None


def _ends(start: int, end: int) -> Iterable[int]:
    """Where a token may be cut: behind it, and a word without end anywhere."""
    if end - start <= _LONGEST_TOKEN:
        return (end,)
    return (*range(start + _PIECE, end, _PIECE), end)


def _lines(items: Iterable[Hit | Turn], numbered: bool) -> Iterator[str]:
    previous = None
    for number, item in enumerate(sorted(items, key=_order), 1):
        if _head(item) != previous:
            previous = _head(item)
            yield previous
        yield f"{number}. {_line(item)}" if numbered else _line(item)


def _order(item: Hit | Turn) -> tuple[str, int]:
    """By day, then as added: ids grow with every addition."""
    return (item.time.date().isoformat() if item.time else "", item.id)


def _head(item: Hit | Turn) -> str:
    return f"[{format_day(item.time)}]"


def format_day(time: datetime | None) -> str:
    """``Monday 2 March 2026``: the weekday lets a reader resolve "last Friday"."""
    return _UNDATED if time is None else _format_date(time.date())


@lru_cache(maxsize=4096)
def _format_date(day: date) -> str:
    return f"{day:%A} {day.day} {day:%B %Y}"


def _line(item: Hit | Turn) -> str:
    return _speaker(item) + defuse(item.text.strip())


def _speaker(item: Hit | Turn) -> str:
    """What a line begins with."""
    speaker = " ".join(defuse(item.speaker).split()) if item.speaker else ""
    return f"{speaker}: " if speaker else "- "


def defuse(text: str) -> str:
    """``text`` as it may stand inside the block: its own lines are indented, the tag is spelled
    with ``‹``."""
    return _LINE_END.sub("\n  ", _TAG.sub("‹", text))


def cited(numbers: Sequence[int], shown: Sequence[Hit | Turn]) -> tuple[list[Hit | Turn], int]:
    """The items with these numbers (1 is the first one shown), each once, and how many numbers
    name none."""
    wanted = dict.fromkeys(numbers)
    known = [number for number in wanted if 1 <= number <= len(shown)]
    return [shown[number - 1] for number in known], len(wanted) - len(known)
