"""Under which texts a turn is found: its dense keys and its lexical text.

Both carry the speaker's name: "Ana: I moved" answers "Where does Ana live?", "I moved" does not.
"""

from __future__ import annotations

from hymem.context import CLOSE, OPEN
from hymem.tokens import count_tokens

# Two special tokens frame every text that the encoder sees.
_SPECIAL_TOKENS = 2
# A long turn's keys overlap by this share, so that no sentence is seen only in halves.
_OVERLAP = 0.25


def strip_recalled(text: str) -> str:
    """``text`` without the blocks that ``recall`` put there: they are no new statements."""
    kept, start = [], 0
    # Not by a regular expression: many openings without an end would take quadratic time.
    while (begin := text.find(OPEN, start)) >= 0 and (end := text.find(CLOSE, begin)) >= 0:
        kept.append(text[start:begin])
        start = end + len(CLOSE)
    return "".join(kept) + text[start:]


def lexical_text(speaker: str, text: str) -> str:
    """What lexical search indexes of a turn."""
    return f"{speaker} {text}"


def dense_keys(speaker: str, text: str, max_tokens: int) -> list[str]:
    """The texts whose vectors stand for a turn, at least one, each within ``max_tokens`` of the
    encoder's window; a turn longer than that gets several, overlapping by a quarter."""
    head = f"{speaker}: "
    if len(head) + len(text) + _SPECIAL_TOKENS <= max_tokens:  # no token is shorter than a letter
        return [head + text]
    room = max_tokens - count_tokens(head)
    if room < max_tokens // 2:  # a name as long as a text
        head, room = "", max_tokens
    return [head + piece for piece in windows(text, room)]


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
