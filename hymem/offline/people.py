"""Which names belong to people (and pets): told by how a text speaks of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What somebody is to somebody else.
RELATION = (
    r"brother|sister|mother|mom|mum|mommy|father|dad|daddy|parent|son|daughter|husband|wife|"
    r"partner|fiancée?|boyfriend|girlfriend|friend|bestie|buddy|roommate|flatmate|cousin|uncle|"
    r"aunt|auntie|nephew|niece|grandmother|grandma|granny|grandfather|grandpa|grandson|"
    r"granddaughter|twin|boss|manager|colleague|coworker|co-worker|teammate|classmate|teacher|"
    r"tutor|professor|coach|trainer|mentor|therapist|doctor|dentist|lawyer|neighbou?r|landlord|"
    r"landlady|babysitter|instructor|supervisor|housemate"
)
RELATION = rf"(?:ex-)?(?:step-?)?(?:{RELATION})(?:-in-law)?"
KIN = (
    rf"{RELATION}|kid|child|baby|guy|girl|boy|man|woman|lady|dog|puppy|cat|kitten|horse|parrot|"
    r"hamster|rabbit"
)
TITLE = r"Mr|Mrs|Ms|Dr|Prof|Professor|Aunt|Auntie|Uncle|Grandma|Grandpa|Coach"
# Words written with a capital that are no names of anybody: pronouns, days, titles, "UK".
_NAME = (
    r"(?!(?:I|It|He|She|We|They|You|This|That|There|The|My|Our|His|Her|What|Who|"
    rf"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)days?|{TITLE}|[A-Z]+)(?![\w’'-]))(?P<name>[A-Z][\w’'-]*\w)"
)
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        # "my boss Olek", "a friend of mine, Anna", "a teacher named Carlos", "my cats, Miso"
        rf"\b(?:{KIN})s?(?: of (?:mine|ours))?,?(?: is| was| are)?(?: named| called)? {_NAME}",
        rf"\b(?:{TITLE})\.? {_NAME}",
        rf"\b[Ww]ith {_NAME}",
        rf"\b{_NAME} and (?:I|me|my)\b",
        rf"\b(?:I|[Mm]e|[Mm]y \w+) and {_NAME}",
        rf"\b(?:met|meet|meeting|told|asked|texted|married|dating|thanked|hugged|invited|hired|"
        rf"(?:ran|run|bumped) into|by) {_NAME}",
        rf"\b(?:gave|lent|sent|sold|showed|wrote) (?:\w+ ){{1,4}}to {_NAME}",
        rf"\b{_NAME} (?:said|says|told|tells|thinks|thought|gave|gives|loves|loved|likes|liked|"
        r"wants|wanted|asked|texted|knows|knew|helps|helped|invited|taught|teaches|joined|works|"
        r"lives|brought|made|took|came|went|called|got|showed|sent|played|plays|suggested|"
        r"recommended|bought|cooked|turned \d)\b",
        rf"\b(?:see|saw|seeing|visited) {_NAME}(?= (?:at|in|on|yesterday|today|last|again)\b)",
        rf"\b{_NAME}['’]s (?:birthday|wedding|house|place|flat|apartment|car|{KIN})\b",
    )
)
_LISTED = re.compile(r",? (?:and|or|&) (?P<name>[A-Z]\w+)")


def people(texts: Iterable[str]) -> frozenset[str]:
    """The names in ``texts`` that somewhere there are spoken of as those of a person or a pet, in
    lower case."""
    found: set[str] = set()
    for text in texts:
        for pattern in _PATTERNS:
            for match in pattern.finditer(text):
                found.add(_bare(match["name"]))
                # "with Anna and Piotr", "my cats, Miso and Figa"
                if listed := _LISTED.match(text, match.end()):
                    found.add(_bare(listed["name"]))
    return frozenset(found)


def _bare(name: str) -> str:
    return re.sub(r"['’]s$", "", name).lower()
