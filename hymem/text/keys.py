"""Under which texts a turn is found: its keys, one for each passage, and its lexical text.

Both carry the speaker's name: "Ana: I moved" answers "Where does Ana live?", "I moved" does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from hymem.stores.base import NewPassage
from hymem.text.block import CLOSE, OPEN
from hymem.text.passages import PASSAGE_CHARACTERS, PASSAGE_TOKENS, cut
from hymem.text.tokens import count_tokens
from hymem.types import Passage, Turn, Unit

# Two special tokens frame every text that the encoder sees.
_SPECIAL_TOKENS = 2
# A long question's windows overlap by this share, so that no sentence is seen only in halves.
_OVERLAP = 0.25


@dataclass(frozen=True, slots=True)
class KeyTexts:
    """The texts that are encoded for an item, and of a turn that was cut what each is made of."""

    texts: Sequence[str]
    passages: Sequence[NewPassage] = ()


def strip_recalled(text: str) -> str:
    """``text`` without the blocks that ``recall`` put there: they are no new statements."""
    return "".join(text[start:end] for start, end in _said(text))


def lexical_text(speaker: str, text: str) -> str:
    """What lexical search indexes of a turn."""
    return f"{speaker} {text}"


def turn_keys(
    speaker: str, text: str, max_tokens: int, passages: Sequence[Passage] = ()
) -> KeyTexts:
    """The keys of a turn, each within ``max_tokens`` of the encoder's window; none if it only
    repeats recalled text. A long one is cut into ``passages``, if it was not before."""
    said = strip_recalled(text)
    if not said.strip():
        return KeyTexts(())
    head = f"{speaker}: "
    # No token is shorter than a letter.
    if len(said) <= PASSAGE_TOKENS and len(head) + len(said) + _SPECIAL_TOKENS <= max_tokens:
        return KeyTexts([head + said])
    room = max_tokens - count_tokens(head) - _SPECIAL_TOKENS
    if room < max_tokens // 2:  # a name as long as a text
        head, room = "", max_tokens - _SPECIAL_TOKENS
    longest = max(min(room, PASSAGE_TOKENS), 1)
    if not passages and (len(said) > PASSAGE_CHARACTERS or count_tokens(said) > longest):
        passages = [one for part in _said(text) for one in cut(text, *part, longest)]
    if len(passages) < 2:
        return KeyTexts([head + said])
    parts = [text[one.start : one.end] for one in passages]
    return KeyTexts(
        [head + part for part in parts],
        [
            NewPassage(one.start, one.end, one.tokens, lexical_text(speaker, part))
            for one, part in zip(passages, parts, strict=True)
        ],
    )


def unit_key(text: str, max_tokens: int) -> str:
    """What is encoded of a unit: as much as the encoder's window holds."""
    return windows(text, max_tokens)[0]


def key_texts(item: Turn | Unit, max_tokens: int) -> KeyTexts:
    """The keys of a turn or unit."""
    if isinstance(item, Turn):
        return turn_keys(item.speaker, item.text, max_tokens, item.passages)
    return KeyTexts([unit_key(item.text, max_tokens)])


def _said(text: str) -> Iterator[tuple[int, int]]:
    """Where ``text`` is no recalled block."""
    start = 0
    # Not by a regular expression: many openings without an end would take quadratic time.
    while (begin := text.find(OPEN, start)) >= 0 and (end := text.find(CLOSE, begin)) >= 0:
        yield start, begin
        start = end + len(CLOSE)
    yield start, len(text)


def windows(text: str, max_tokens: int) -> list[str]:
    """``text`` in pieces, at least one, that an encoder's window of ``max_tokens`` holds; each
    repeats a quarter of the one before."""
    from snn_encoder.tokenizer import load_tokenizer

    room = max(max_tokens - _SPECIAL_TOKENS, 1)
    if len(text) <= room:
        return [text]
    offsets = load_tokenizer().encode(text, add_special_tokens=False).offsets
    if len(offsets) <= room:
        return [text]
    step = max(round(room * (1 - _OVERLAP)), 1)
    ends = (min(start + room, len(offsets)) for start in range(0, len(offsets) - room + step, step))
    return [text[offsets[max(end - room, 0)][0] : offsets[end - 1][1]] for end in ends]
