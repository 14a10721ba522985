"""Questions as they were meant: a word that is none is read as its nearest neighbour."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

_WORD = re.compile(r"[^\W\d_]{5,}")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def respelt(question: str, texts: Iterable[str]) -> str:
    """``question`` with each misspelt word replaced by one of ``texts``, else of the language, that
    is one letter away; and each right one that only stands misspelt there by what stands there.

    A word of five letters or more is misspelt if the tokenizer does not know it whole. A question
    of which it knows few words is of another language, and left alone.
    """
    words = re.findall(r"[^\W\d_]+", question.lower())
    if 2 * sum(_frequency(word) is not None for word in words) < len(words):
        return question
    said: dict[str, None] = {}
    for text in texts:
        said |= dict.fromkeys(_WORD.findall(text.lower()))

    def nearest(found: re.Match[str]) -> str:
        word = found[0].lower()
        if word in said or not word.isascii() or found[0][0].isupper():
            return found[0]
        near = [*_one_letter_away(word)]
        known = _frequency(word) is not None
        for other in near:
            if other in said and not (known and _frequency(other) is not None):
                return other
        if known or any(word.startswith(one) or one.startswith(word) for one in said):
            return found[0]
        best = min(near, key=lambda other: _frequency(other) or 10**9)
        return best if _frequency(best) is not None else found[0]

    return _WORD.sub(nearest, question)


def _frequency(word: str) -> int | None:
    """The word's place in the tokenizer's vocabulary, which goes by frequency; ``None`` if it is no
    word of its own there."""
    from snn_encoder.tokenizer import load_tokenizer

    return load_tokenizer().token_to_id(word)


def _one_letter_away(word: str) -> Iterator[str]:
    """What a letter left out, doubled, mistaken or exchanged with the next may have stood for; the
    first letter is seldom wrong."""
    for at in range(1, len(word) + 1):
        head, tail = word[:at], word[at:]
        for letter in _LETTERS:
            yield head + letter + tail
        if tail:
            yield head + tail[1:]
            for letter in _LETTERS:
                yield head + letter + tail[1:]
        if len(tail) > 1:
            yield head + tail[1] + tail[0] + tail[2:]
