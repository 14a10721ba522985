"""Sentences of chat text, and which of them say something worth keeping."""

from __future__ import annotations

import re

_ABBREVIATION = re.compile(
    r"\b(?:mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|a\.m|p\.m|no|jr|sr|approx|[A-Z])\.$", re.IGNORECASE
)
_BREAK = re.compile(
    r"\s*\n+\s*(?:(?:[-*•]|\d{1,2}[.)])\s)?\s*|(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])"
)
# Texts made of spaces or of abbreviations would take quadratic time.
_LONG_SPACE = re.compile(r"[^\S\n]{9,}")
_LONGEST = 1000
CAPTION = re.compile(r"\[(?:picture|photo|image|video)s?\b[^\]]*\]", re.IGNORECASE)

_SELF = re.compile(r"\b(?:i|i['’]\w+|my|me|mine|we|we['’]\w+|our|us)\b", re.IGNORECASE)
_REACTION = re.compile(
    r"(?:oh|ah|aw+|wow|yay|haha\w*|lol|hey|hi|hello|yo|good (?:morning|evening|night|luck)|bye|"
    r"see you|talk (?:to you )?soon|take care|thanks?|thank you|cheers|congrat\w*|welcome|"
    r"happy (?:new|birthday|holidays|christmas|easter)|you['’]re welcome|"
    r"no (?:problem|worries)|sure|okay|ok|yes|yeah|yep|yup|no|nope|right|"
    r"exactly|totally|absolutely|definitely|of course|same here|me too|"
    r"(?:that|this|it|which)(?:['’]s| is| was| sounds?| looks?| must| seems?)|sounds?|looks?|"
    r"(?:so |i['’]m |i am )*(?:glad|happy for|proud|sorry)|great|nice|cool|awesome|amazing|lovely|"
    r"wonderful|fantastic|perfect|keep|enjoy|have (?:a|fun)|can['’]t wait to (?:hear|see)|"
    r"what an?|how (?:\w+)!|let me know|you(?:['’]re| are|['’]ve| have)?)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_NAME = re.compile(r"(?<![.!?…]\s)(?<!^)\b(?!I\b|I['’])[A-Z][\w’']+")
_EMPTY_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about after again all also always am an and any are as at awesome be been being but by
        can come could did do does doing done down even ever every feel few for from get gets
        getting glad go going gonna good got great had has have having he her here him his how
        i if in into is it its just keep know let like ll lot lots love make makes many me mine
        more most much must my need never nice no not now of off oh on one only or other our out
        over own re really s say see she should so some something still such sure t take than
        thank thanks that the their them then there these they thing things think this those
        time to too totally up us ve very was way we well were what when where which while who
        why will with would wow yeah yes you your""",
    )
)


def split_sentences(text: str) -> list[str]:
    """The sentences of ``text``, stripped, none empty; picture captions in brackets are left out.

    Lines and list items end a sentence; abbreviations such as "Dr." do not.
    """
    sentences: list[str] = []
    for piece in _BREAK.split(_LONG_SPACE.sub(" ", CAPTION.sub(" ", text))):
        piece = piece.strip()
        if sentences and _is_abbreviated(sentences[-1]):
            sentences[-1] = f"{sentences[-1]} {piece}"
        elif piece:
            sentences.append(piece)
    return sentences


def _is_abbreviated(sentence: str) -> bool:
    return len(sentence) < _LONGEST and _ABBREVIATION.search(sentence) is not None


def captions(text: str) -> list[str]:
    """What the pictures in ``text`` show: the bracketed captions, brackets stripped."""
    return [caption[1:-1].strip() for caption in CAPTION.findall(text)]


def is_question(sentence: str) -> bool:
    return sentence.rstrip("!\"'”’) ").endswith(("?", "？"))


def names(sentence: str) -> list[str]:
    """Capitalised words that do not open the sentence."""
    found: list[str] = _NAME.findall(sentence)
    return found


def weight(sentence: str) -> int:
    """How much a sentence tells, for choosing the few of a turn that are worth keeping: its words
    with content, and more for a speaker's own affairs, names and numbers. Reactions ("That's
    great!"), greetings and questions weigh little or nothing."""
    words = _WORD.findall(sentence.lower())
    content = [word for word in words if word not in _EMPTY_WORDS and len(word) > 1]
    own = _SELF.search(sentence) is not None
    score = min(len(content), 10) + 2 * own + 2 * min(len(names(sentence)), 2)
    score += 2 * any(word[0].isdigit() for word in words)
    if is_question(sentence):
        score -= 8
    if _REACTION.match(sentence):
        score -= 2 if own and len(content) > 3 else 6
    return score
