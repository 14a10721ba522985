"""Long texts in passages: whole sentences, some hundred words each, that are matched and shown on
their own. Cutting takes time linear in the text, whatever it consists of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from hymem.text.tokens import count_many
from hymem.types import Hit, Passage, Turn, Unit

Item = TypeVar("Item", Hit, Turn, Unit, Hit | Turn, Turn | Unit)
Shown = TypeVar("Shown", Hit, Turn, Hit | Turn)

PASSAGE_TOKENS = 128
# A text without spaces may be one token however long it is.
PASSAGE_CHARACTERS = 1280
_END = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'”’)\]])\s+|\n\s*|(?<=[。！？])")
_COUNTED_AT_ONCE = 1024
ELLIPSIS = "…"
Span = tuple[int, int]  # where a piece of a text begins and ends


def cut(text: str, start: int, end: int, max_tokens: int) -> list[Passage]:
    """The passages of ``text[start:end]``, each of at most ``max_tokens`` tokens where its words
    let it; together they hold all that is no space."""
    found: list[Passage] = []
    for piece in _counted(text, _pieces(text, start, end), max_tokens):
        last = found[-1] if found else None
        if (
            last is not None
            and last.tokens + piece.tokens <= max_tokens
            and piece.end - last.start <= PASSAGE_CHARACTERS
        ):
            found[-1] = Passage(last.start, piece.end, last.tokens + piece.tokens)
        else:
            found.append(piece)
    return found


def excerpt(item: Shown, max_tokens: int) -> Shown:
    """``item`` as it is if its text has at most ``max_tokens``, or is in one piece; else with its
    best passages alone, in order, with ``…`` for what is left out: as many as fit, but one at
    least. What a smaller excerpt holds, a larger one holds too."""
    if not item.passages or item.tokens <= max_tokens:
        return item
    chosen: list[int] = []
    tokens = 1
    for number in best_first(item):
        tokens += item.passages[number].tokens + 2  # and what may stand for its surroundings
        if chosen and tokens > max_tokens:
            break
        chosen.append(number)
    return excerpt_of(
        item, [(one.start, one.end) for one in map(item.passages.__getitem__, chosen)]
    )


def excerpt_of(item: Shown, spans: Iterable[Span]) -> Shown:
    """``item`` with these pieces of its text alone, in order, with ``…`` for what is left out;
    ``item`` itself where that is nothing."""
    text, pieces = item.text, list[Span]()
    for start, end in sorted(spans):
        if pieces and not text[pieces[-1][1] : start].strip():
            pieces[-1] = (pieces[-1][0], end)
        else:
            pieces.append((start, end))
    first, last = text[: pieces[0][0]].strip(), text[pieces[-1][1] :].strip()
    if len(pieces) == 1 and not first and not last:
        return item
    shown = f" {ELLIPSIS} ".join(text[start:end] for start, end in pieces)
    return with_text(item, f"{f'{ELLIPSIS} ' * bool(first)}{shown}{f' {ELLIPSIS}' * bool(last)}")


def with_text(item: Item, text: str, tokens: int = 0) -> Item:
    """``item`` with another text, of which but for its ``tokens`` nothing is known."""
    if isinstance(item, Unit):
        return replace(item, text=text)
    unknown: dict[str, Any] = {"tokens": tokens, "passages": ()}
    if isinstance(item, Hit):
        unknown["best"] = ()
    return replace(item, text=text, **unknown)


def best_first(item: Hit | Turn) -> Iterator[int]:
    """Numbers of the passages: those that match, best first, then the others in order. A text in
    one piece has one, 0."""
    best = item.best if isinstance(item, Hit) else ()
    yield from best
    yield from (number for number in range(len(item.passages) or 1) if number not in best)


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Sentences, and what has to stand for them where they are too long, without outer spaces."""
    for first, last in _sentences(text, start, end):
        while last - first > PASSAGE_CHARACTERS:
            middle = _space_before(text, first, first + PASSAGE_CHARACTERS)
            yield from _stripped(text, first, middle)
            first = middle
        yield from _stripped(text, first, last)


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    for found in _END.finditer(text, start, end):
        yield start, found.start()
        start = found.end()
    yield start, end


def _stripped(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    part = text[start:end]
    kept = part.strip()
    if kept:
        first = start + len(part) - len(part.lstrip())
        yield first, first + len(kept)


def _space_before(text: str, start: int, end: int) -> int:
    """Where to cut ``text[start:end]``: at its last space in the second half, else at the end."""
    for place in range(end, (start + end) // 2, -1):
        if text[place - 1].isspace():
            return place
    return end


def _counted(text: str, pieces: Iterable[tuple[int, int]], max_tokens: int) -> Iterator[Passage]:
    """The pieces with their lengths in tokens; those that are too long in halves."""
    batch: list[tuple[int, int]] = []
    for piece in pieces:
        batch.append(piece)
        if len(batch) == _COUNTED_AT_ONCE:
            yield from _count(text, batch, max_tokens)
            batch = []
    yield from _count(text, batch, max_tokens)


def _count(text: str, pieces: list[tuple[int, int]], max_tokens: int) -> Iterator[Passage]:
    counts = count_many([text[start:end] for start, end in pieces])
    for (start, end), tokens in zip(pieces, counts, strict=True):
        if tokens <= max_tokens or end - start < 2:
            yield Passage(start, end, tokens)
            continue
        middle = _space_before(text, start, (start + end + 1) // 2)
        halves = [*_stripped(text, start, middle), *_stripped(text, middle, end)]
        yield from _count(text, halves, max_tokens)
