"""Under which texts a turn is found: its dense keys and its lexical text.

Both carry the speaker's name: "Ana: I moved" answers "Where does Ana live?", "I moved" does not.
"""

from __future__ import annotations

import re

from hymem.context import CLOSE, OPEN

# Two special tokens frame every text that the encoder sees.
_SPECIAL_TOKENS = 2
# A long turn's keys overlap by this share, so that no sentence is seen only in halves.
_OVERLAP = 0.25
_RECALLED = re.compile(f"{re.escape(OPEN)}.*?{re.escape(CLOSE)}", re.DOTALL)


def strip_recalled(text: str) -> str:
    """``text`` without the blocks that ``recall`` put there: they are no new statements."""
    return _RECALLED.sub("", text) if OPEN in text else text


def lexical_text(speaker: str, text: str) -> str:
    """What lexical search indexes of a turn."""
    return f"{speaker} {text}"


def dense_keys(speaker: str, text: str, max_tokens: int) -> list[str]:
    """The texts whose vectors stand for a turn, at least one, each within ``max_tokens`` of the
    encoder's window; a turn longer than that gets several, overlapping by a quarter."""
    head = f"{speaker}: "
    if len(head) + len(text) + _SPECIAL_TOKENS <= max_tokens:  # no token is shorter than a letter
        return [head + text]
    from snn_encoder.tokenizer import load_tokenizer

    tokenizer = load_tokenizer()
    head_tokens = len(tokenizer.encode(head, add_special_tokens=False).ids)
    room = max(max_tokens - _SPECIAL_TOKENS - head_tokens, 1)
    offsets = tokenizer.encode(text, add_special_tokens=False).offsets
    step = max(round(room * (1 - _OVERLAP)), 1)
    starts = range(0, max(len(offsets) - room + step, 1), step)
    return [head + text[_span(offsets, start, start + room)] for start in starts]


def _span(offsets: list[tuple[int, int]], start: int, end: int) -> slice:
    window = offsets[start:end]
    return slice(window[0][0], window[-1][1]) if window else slice(0, None)
