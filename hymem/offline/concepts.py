"""What everyday words are told by, where neither stem nor vector shows it: "pets" by "tortoise"."""

from __future__ import annotations

from functools import cache

from hymem.text.words import terms

# Asked words: words that tell of them.
_KINDS = (
    ("pet animal", "dog puppy cat kitten hamster rabbit bunny parrot budgie canary tortoise turtle "
     "goldfish horse pony guinea ferret hamster lizard snake chicken hound greyhound beagle "
     "labrador retriever poodle terrier spaniel dachshund collie husky shepherd tabby"),
    ("dog", "puppy hound greyhound beagle labrador retriever poodle terrier spaniel dachshund "
     "collie husky"),
    ("cat", "kitten tabby"),
    ("allergic allergy intolerant intolerance", "rash hives throat swells swollen itch itchy "
     "epipen anaphylaxis anaphylactic"),
    ("child children kid", "son daughter baby toddler boy girl twins"),
    ("sibling", "brother sister twin"),
    ("parent", "mother mom mum father dad"),
    ("swim", "float pool lido breaststroke freestyle"),
    ("instrument", "guitar piano violin bass drums cello flute saxophone trumpet ukulele harp "
     "clarinet keyboard banjo"),
    ("sport", "football soccer tennis basketball swimming running cycling climbing volleyball "
     "hockey yoga rugby golf judo karate boxing rowing skiing"),
    ("language", "English Spanish Italian French German Polish Portuguese Dutch Swedish Norwegian "
     "Danish Finnish Greek Turkish Russian Ukrainian Czech Hungarian Arabic Hebrew Hindi Urdu "
     "Chinese Mandarin Cantonese Japanese Korean Vietnamese Thai"),
    ("colour color", "red blue green yellow black white grey gray brown orange purple pink beige "
     "silver gold turquoise teal"),
    ("birthday", "born"),
)  # fmt: skip
# Words that say the same, and forms of a word that share no stem.
_SAME = (
    "mother mom mum mommy mama",
    "father dad daddy papa",
    "grandmother grandma granny nana",
    "grandfather grandpa grandad",
    "roommate flatmate housemate",
    "boss manager supervisor",
    "doctor dr physician gp",
    "film movie cinema",
    "flat apartment",
    "bike bicycle",
    "holiday vacation",
    "favourite favorite",
    "colour color",
    "neighbour neighbor",
    "meat vegetarian vegan",
    "teach teaches taught teacher instructor tutor lessons",
    "work works worked working job employer",
    "buy bought cost costs price pay paid spend spent",
    "sell sold",
    "meet met",
    "leave left",
    "break broke broken",
    "give gave given",
    "see saw seen",
    "go went gone",
    "eat ate eaten",
    "drive drove driven",
    "learn learnt learning",
    "child children kid",
    "wife husband spouse",
    "grandson granddaughter grandchild grandchildren grandsons",
)


@cache
def told_by(term: str) -> frozenset[str]:
    """The stems of words that tell of the stem ``term``; empty for most."""
    return _table().get(term, frozenset())


@cache
def _table() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for asked, told in [*_KINDS, *((group, group) for group in _SAME)]:
        for term in terms(asked):
            table.setdefault(term, set()).update(terms(told))
    return {term: frozenset(told - {term}) for term, told in table.items()}
