"""Counting tokens: with the bundled MiniLM vocabulary, special tokens left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

# The lines of a memory are counted again at every recall that considers them.
_RECENT_LIMIT = 20_000
_RECENT_CHARACTERS = 2_000
# No call has ever had a hundredth of this.
MOST_TOKENS = 1_000_000_000
_recent: dict[str, int] = {}
# A longer text is counted in parts, so that it takes no more memory than they do.
_PART = 1 << 14
# The vocabulary's tokenizer gives a run of so many letters one token, however long it is; a model
# will see one for every few characters. Ideographs are tokens of their own.
_LONGEST_WORD = 100
_ENDLESS = re.compile("[0-9A-Za-z]{101,}")
_IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_ENDLESS_ANY = re.compile(rf"[^\W_{_IDEOGRAPHS}]{{101,}}")
_CHARACTERS_PER_TOKEN = 4


def forget_counts() -> None:
    """Let go of the texts whose counts are remembered."""
    _recent.clear()


def count_tokens(text: str) -> int:
    """Number of WordPiece tokens of ``text``, without the special ones."""
    return count_many([text])[0]


def count_many(texts: Sequence[str]) -> list[int]:
    """``count_tokens`` of each text, in one parallel pass. Recent short texts are remembered."""
    counts = {text: _recent.get(text, -1) for text in texts}
    new = [text for text, count in counts.items() if count < 0]
    if new:
        counts |= zip(new, _count(new), strict=True)
        if len(_recent) + len(new) > _RECENT_LIMIT:
            _recent.clear()
        _recent.update((text, counts[text]) for text in new if len(text) <= _RECENT_CHARACTERS)
    return [counts[text] for text in texts]


def reported_count(value: object, texts: Sequence[str] = ()) -> int | None:
    """A number of tokens as somebody else reports it; ``None`` if it cannot be one (negative, no
    whole number, more than ``MOST_TOKENS``, 0 though ``texts``, which it counts, are not empty), so
    that it is estimated instead."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    if value == 0 and any(texts):  # as proxies say that do not count
        return None
    return value if 0 <= value <= MOST_TOKENS else None


def _count(texts: Sequence[str]) -> list[int]:
    from snn_encoder.tokenizer import load_tokenizer

    tokenizer = load_tokenizer()
    short = [text for text in texts if len(text) <= _PART]
    found = tokenizer.encode_batch_fast(short, add_special_tokens=False)
    counts = {text: len(one.ids) for text, one in zip(short, found, strict=True)}
    for text in texts:
        if text not in counts:
            parts = (tokenizer.encode(part, add_special_tokens=False) for part in _parts(text))
            counts[text] = sum(len(part.ids) for part in parts)
    return [counts[text] + _endless(text) for text in texts]


def _parts(text: str) -> Iterator[str]:
    """``text`` in parts that end where a word does."""
    start = 0
    while len(text) - start > _PART:
        end = start + _PART
        while end > start and not text[end - 1].isspace():
            end -= 1
        end = end if end > start else start + _PART
        yield text[start:end]
        start = end
    yield text[start:]


def _endless(text: str) -> int:
    """Tokens that words too long for the tokenizer stand for, beyond the one it gives."""
    if len(text) <= _LONGEST_WORD:
        return 0
    words = (_ENDLESS if text.isascii() else _ENDLESS_ANY).finditer(text)
    return sum((word.end() - word.start()) // _CHARACTERS_PER_TOKEN for word in words)
