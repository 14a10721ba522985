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

from hymem.passages import ELLIPSIS, excerpt, with_text
from hymem.tokens import count_tokens
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


# How much of a block one long text may take while others wait: an eighth.
SHARE = 8
# Less of a text than so many tokens is not worth showing beside others.
LEAST_CUT = 12
_LONGEST_TOKEN = 100  # characters, but for runs of spaces
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]]*(?=\s)|\n|[。！？]")
EMPTY = Rendered("", 0, ())


def render(
    items: Sequence[Hit | Turn],
    max_tokens: int,
    *,
    numbered: bool = False,
    note: str = "",
    whole: int = 0,
    instead: Callable[[Hit | Turn], Hit | None] = lambda item: None,
) -> Rendered:
    """The block for ``items``, best first, as many as fit into ``max_tokens``.

    A long text is shown by its best passages, in at most a ``SHARE`` of the block; where room is
    left in the end they are widened, the best item's first. The first ``whole`` items are shown as
    they are. The first item that does not fit ends the block: with what ``instead`` gives for it,
    if that fits, else cut, to whole sentences where one fits. So a larger block tells whatever a
    smaller one told. The block itself is in order of time, below ``note``, a line of HyMem's own. A
    block that would hold nothing is the empty text. With ``numbered``, its lines are numbered from
    1, so that a model can cite them, and ``used`` is in the order of these numbers.
    """
    number = count_tokens(f"{len(items)}. ") if numbered else 0
    opening = f"{OPEN}\n{note}" if note else OPEN
    room = max_tokens - count_tokens(f"{opening}\n{CLOSE}")
    used: list[Hit | Turn] = []
    lengths: list[int] = []
    shown: set[str] = set()
    cut: Hit | Turn | None = None
    for place, item in enumerate(items):
        day = _head(item)
        left = room - (0 if day in shown else count_tokens(day)) - number
        part = item if place < whole else excerpt(item, max_tokens // SHARE)
        length = _length(part)
        if length > left:
            free = room - number
            cut = _fitting(instead(item), free, shown) or _cut(part, left, LEAST_CUT if used else 1)
            break
        used.append(part)
        lengths.append(length)
        shown.add(day)
        room = left - length
    complete = len(used) == len(items)
    if complete:
        room = _widen(used, lengths, items, room)
        complete = all(one is item for one, item in zip(used, items, strict=True))
    if cut is not None:
        used.append(cut)
    if not used:
        return EMPTY
    if numbered:
        used.sort(key=_order)
    text = "\n".join([opening, *_lines(used, numbered), CLOSE])
    # No token reaches over a line's end, so a block's tokens are its lines'.
    tokens = max_tokens - room if cut is None and not numbered else count_tokens(text)
    return Rendered(text, tokens, tuple(used), complete)


def _fitting(item: Hit | None, room: int, shown: Collection[str]) -> Hit | None:
    """``item``, if it fits into ``room`` below the days that are ``shown``."""
    if item is None:
        return None
    day = _head(item)
    needed = _length(item) + (0 if day in shown else count_tokens(day))
    return item if needed <= room else None


def _widen(
    used: list[Hit | Turn], lengths: list[int], items: Sequence[Hit | Turn], room: int
) -> int:
    """Show more of what is shown in part, as far as ``room`` reaches; the room that is left."""
    for place, item in enumerate(items):
        if used[place] is not item:
            wider = excerpt(item, lengths[place] + room - count_tokens(_line(with_text(item, ""))))
            grown = _length(wider) - lengths[place]
            if grown <= room:
                used[place] = wider
                room -= grown
            if used[place] is not item:  # else a larger block might lose what the next one gained
                break
    return room


def _length(item: Hit | Turn) -> int:
    """Tokens of an item's line."""
    if not item.tokens or _ODD_LINE_END.search(item.text):
        return count_tokens(_line(item))
    return item.tokens + count_tokens(_line(with_text(item, "")))


def _cut(item: Hit | Turn, room: int, least: int) -> Hit | Turn | None:
    """``item`` with as much of its beginning as ``room`` tokens hold, in whole sentences if that
    is one at least; ``None`` if it were fewer than ``least`` tokens."""
    from snn_encoder.tokenizer import load_tokenizer

    if room < least:
        return None
    text = item.text.strip()[: room * _LONGEST_TOKEN]
    offsets = load_tokenizer().encode(text, add_special_tokens=False).offsets
    # Indenting may add tokens to a line, so what fits is found by trying.
    for kept in range(min(room, len(offsets)), least - 1, -1):
        beginning = text[: offsets[kept - 1][1]]
        cut = with_text(item, f"{beginning} {ELLIPSIS}")
        if count_tokens(_line(cut)) <= room:
            ends = [found.end() for found in _SENTENCE_END.finditer(beginning)]
            whole = beginning[: ends[-1]].rstrip() if ends else beginning
            return with_text(item, f"{whole} {ELLIPSIS}")
    return None


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
    text = defuse(item.text.strip())
    speaker = " ".join(defuse(item.speaker).split()) if item.speaker else ""
    return f"{speaker}: {text}" if speaker else f"- {text}"


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
