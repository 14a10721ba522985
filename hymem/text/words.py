"""Words as lexical search sees them: folded, stemmed, of any script.

English is stemmed (Snowball). Scripts that are written without spaces are cut into overlapping
pairs of characters, the usual stand-in for a dictionary of words.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import Any

from hymem.text.tokens import forget_counts

# A longer run of letters is no word of any language (base64, a minified script).
LONGEST_TERM = 64
_LONGEST_ENDING = 16  # more than the stemmer ever takes off

_STOP_WORDS = (
    "a about after all also am an and any are as at be because been before being but by can could "
    "d did didn do does doesn doing don down for from had hadn has hasn have haven having he her "
    "here him his how i if in into is isn it its just ll m me more most my no not of off on once "
    "only or other our out over own re s same she should so some such t than that the their them "
    "then there these they this those through to too under until up us ve very was wasn we were "
    "weren what when where which while who whom why will with won would wouldn you your"
)
_STOP = frozenset(_STOP_WORDS.split())
# Latin, Hebrew and Arabic write these marks or leave them out; elsewhere marks are letters.
_OPTIONAL_MARKS = re.compile("[\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670]")
_ASCII_WORD = re.compile("[a-z0-9]+")
_IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Each script on its own, so that a Japanese noun is parted from the particle behind it.
_UNSPACED = (
    f"[{_IDEOGRAPHS}]+|[\u3041-\u309f]+|[\u30a1-\u30ff]+|[\uac00-\ud7af]+"
    "|[\u0e01-\u0e4e]+|[\u0e81-\u0ecd]+|[\u1000-\u103f]+|[\u1780-\u17d3]+"
)
_EMOJI = "[\u2600-\u27bf\U0001f300-\U0001faff]"
# Vowel signs of the Indic scripts are not alphanumeric to Python, yet belong to the word.
_INDIC = "\u0900-\u0963\u0966-\u0dff"
_ANY = re.compile(f"({_UNSPACED})|({_EMOJI})|((?:(?!{_UNSPACED})[^\\W_]|[{_INDIC}])+)")


def terms(text: str) -> list[str]:
    """The terms of ``text`` in order, repeats included; stop words are left out.

    Any string is accepted, NUL and lone surrogates included.
    """
    words = _ASCII_WORD.findall(text.lower()) if text.isascii() else _words(text)
    return [stem for word in words if (stem := _term(word))]


def forget_words() -> None:
    """Let go of the words that were met and of the texts that were counted, some of which may be
    of a text that was deleted."""
    _stem.cache_clear()
    forget_counts()


def fold(text: str) -> str:
    """``text`` without case, compatibility forms and optional accents."""
    split = unicodedata.normalize("NFKD", text.casefold())
    return unicodedata.normalize("NFC", _OPTIONAL_MARKS.sub("", split))


def _words(text: str) -> list[str]:
    found = []
    for unspaced, emoji, word in _ANY.findall(fold(text)):
        if unspaced:
            found += _pairs(unspaced)
        else:
            found.append(emoji or word)
    return found


def _pairs(run: str) -> list[str]:
    """Overlapping pairs, and single ideographs: many Chinese and Japanese words are one."""
    singles = list(run) if len(run) == 1 or re.match(f"[{_IDEOGRAPHS}]", run) else []
    return singles + [run[i : i + 2] for i in range(len(run) - 1)]


def _term(word: str) -> str:
    # A long run is cut whatever its stem would be, and is not worth keeping.
    return _stem(word) if len(word) <= LONGEST_TERM + _LONGEST_ENDING else word[:LONGEST_TERM]


@lru_cache(maxsize=1 << 15)
def _stem(word: str) -> str:
    """The term of a word; empty for a stop word."""
    if word in _STOP:
        return ""
    # The stemmer holds the interpreter lock throughout, so threads may share it.
    stem: str = _stemmer().stemWord(word) if word.isascii() else word
    return stem[:LONGEST_TERM]


@cache
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english", 0)
