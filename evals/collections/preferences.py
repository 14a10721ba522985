"""Preferences stated once in passing; the question is a request whose good answer rests on one.

Statements are real ones of a corpus of talks about oneself; each is put into a talk of others that
says nothing in its field. The request is a fixed one of that field which shares no word of content
with the statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from evals.collections.base import (
    Memory,
    Question,
    alternating,
    content,
    dice,
    history,
    message_id,
    two_names,
)
from evals.collections.corpora import Talk

SESSIONS = 30
MEMORIES = 60
FIELDS = 4  # of one memory
MOST_WORDS = 18  # of a statement

_TASTE = re.compile(
    r"^(?:(?:well|yes|yeah|oh|also|and|honestly|actually),? )?(?:i(?:'m| am)? (?:also |really "
    r"|just |do )?(?:love|like|enjoy|hate|prefer|dislike|adore|can't stand|am allergic|allergic"
    r"|play|eat|collect|watch|read|a big fan|a huge fan|a vegan|a vegetarian)|my favou?rite)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Field:
    """``words``: stems that tell a statement of the field; ``requests``: what is asked in it."""

    words: frozenset[str]
    requests: tuple[str, ...]


def _field(words: str, *requests: str) -> Field:
    return Field(frozenset(stem for word in words.split() for stem in content(word)), requests)


FIELD_LIST = {
    "food": _field(
        "food foods eat pizza sushi pasta vegan vegetarian meat chicken steak burger burgers "
        "cheese bacon seafood fish spicy italian mexican thai bbq tacos rice salad vegetables "
        "fruit chocolate cake dessert sweets candy bread soup noodles allergic cook cooking "
        "bake baking",
        "Any ideas for dinner tonight?",
        "What should I order at the restaurant this evening?",
        "Friends are coming over on Saturday, what could I serve them?",
        "Can you put together a menu for my birthday?",
        "I'm hungry and have no plan. Suggestions?",
        "Can you recommend somewhere to go for lunch downtown?",
    ),
    "music": _field(
        "music song songs band bands guitar piano rock jazz rap metal country concert concerts "
        "singer singing sing album pop hip-hop classical drums violin beatles",
        "Make me a playlist for the long drive.",
        "What should I listen to while I work?",
        "Who is touring near us this summer that I ought to see?",
        "I want to take up an instrument at last, which one suits me?",
    ),
    "screen": _field(
        "movie movies film films tv show shows series horror comedy comedies actor netflix sci-fi "
        "anime cartoon cartoons documentary documentaries marvel disney sitcom",
        "What could we put on tonight, I just want to lie on the couch?",
        "Recommend me something on streaming for a rainy Sunday.",
        "We have two hours and a projector. Ideas?",
    ),
    "books": _field(
        "book books read reading novel novels author authors poetry fiction mystery mysteries "
        "fantasy biography comic comics library literature writer",
        "I need something for the beach holiday, a paperback maybe?",
        "What might I take along for the eight hours on the plane to keep my mind busy?",
        "Which title should I pick for our club next month?",
    ),
    "animals": _field(
        "dog dogs cat cats pet pets horse horses animal animals puppy kitten turtle hamster bird "
        "birds rabbit rabbits snake fish",
        "Should we adopt from the shelter, and which kind of companion?",
        "I have a free afternoon and would like to volunteer somewhere, any thoughts?",
        "What could I get my daughter who wants someone furry to look after?",
    ),
    "sport": _field(
        "sport sports football soccer basketball baseball tennis golf hockey run running gym yoga "
        "workout swimming swim cycling hike hiking climbing skiing surfing marathon exercise lift "
        "weights volleyball frisbee skateboarding",
        "How can I get back into shape this spring?",
        "I need to move more. What would keep me motivated?",
        "Plan an active weekend for me.",
        "My doctor says I should get my heart rate up regularly, how?",
    ),
    "travel": _field(
        "travel traveling travelling beach beaches mountain mountains country countries europe "
        "vacation vacations cruise camping camp flying fly abroad ocean japan italy france hotel",
        "Where should I go for two weeks in September?",
        "Help me plan my next holiday.",
        "We finally got time off together. Destination ideas?",
    ),
    "games": _field(
        "game games video nintendo xbox playstation chess poker board puzzle puzzles minecraft "
        "zelda gaming gamer console cards rpg",
        "I have a whole evening to myself and a new computer. What now?",
        "What could the six of us do round the table on Friday night?",
        "Any gift for my nephew that we could enjoy together?",
    ),
    "making": _field(
        "paint painting draw drawing art sew sewing knit knitting crafts craft pottery photography "
        "photos photographs woodworking crochet sculpture sketch sketching quilting",
        "I'm looking for an evening class at the community college.",
        "What creative present could I do myself for my mother?",
        "How could I decorate the empty wall in the living room?",
    ),
    "garden": _field(
        "garden gardening plants plant flowers flower roses tomatoes vegetables trees herbs "
        "orchids lawn",
        "What could I do with the small yard behind our new house?",
        "Which gift for the balcony would please me most?",
    ),
    "drinks": _field(
        "coffee tea beer wine whiskey vodka soda juice lemonade cocktails espresso latte milk "
        "drink",
        "I'm at the bar, what shall I have?",
        "What can I bring along to the party in a bottle?",
        "Something to warm me up this morning?",
    ),
    "clothes": _field(
        "clothes clothing fashion shoes dress dresses jeans jewelry makeup heels boots hats wear "
        "wearing style outfit outfits hair",
        "I'm invited to a wedding. Help me pick what to put on.",
        "What could I treat myself to at the mall with this voucher?",
    ),
    "cars": _field(
        "car cars truck trucks motorcycle motorcycles drive driving mustang ford engine engines "
        "racing bike bikes jeep",
        "What should I look for at the dealership?",
        "How shall I commute to the new job?",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Statement:
    field: str
    text: str


def preferences(corpus: Talk) -> Iterator[Memory]:
    statements = find(line for talk in corpus.loose for line in talk)
    talks = [*corpus.sure, *corpus.loose]
    dice("preferences").shuffle(talks)
    fields = [fields_of(talk) for talk in talks]
    used: set[int] = set()
    names = list(FIELD_LIST)
    for number in range(MEMORIES):
        roll = dice("preferences", number)
        chosen = [name for name in roll.sample(names, FIELDS) if statements[name]]
        free = [at for at in range(len(talks)) if at not in used and fields[at].isdisjoint(chosen)][
            :SESSIONS
        ]
        if len(free) < SESSIONS:
            return
        used.update(free)
        told = [statements[name].pop(roll.randrange(len(statements[name]))) for name in chosen]
        yield _memory(number, told, [talks[at] for at in free])


def find(lines: Iterator[str]) -> dict[str, list[Statement]]:
    """Statements of taste by field; those of several fields are left out."""
    found: dict[str, list[Statement]] = {name: [] for name in FIELD_LIST}
    for line in lines:
        if _TASTE.match(line) and "?" not in line and len(line.split()) <= MOST_WORDS:
            fields = fields_of([line])
            if len(fields) == 1:
                (name,) = fields
                found[name].append(Statement(name, line))
    return found


def fields_of(talk: Sequence[str]) -> set[str]:
    """The fields that a talk says anything in."""
    words = set().union(*(content(line) for line in talk))
    return {name for name, field in FIELD_LIST.items() if words & field.words}


def request(statement: Statement, pick: int) -> str | None:
    """One of the field's requests that share no word of content with the statement."""
    said = content(statement.text)
    fitting = [text for text in FIELD_LIST[statement.field].requests if not content(text) & said]
    return fitting[pick % len(fitting)] if fitting else None


def _memory(number: int, told: Sequence[Statement], talks: Sequence[Sequence[str]]) -> Memory:
    name = f"preferences-{number}"
    roll = dice(name)
    names = two_names(roll) if number % 2 else ("user", "assistant")
    sessions = [alternating(talk, names) for talk in talks]
    questions = []
    for statement, session in zip(told, roll.sample(range(len(talks)), len(told)), strict=True):
        asked = request(statement, number)
        if asked is None:
            continue
        # In the user's mouth, in passing: instead of one of their lines in the middle.
        place = 2 * roll.randrange(1, max(len(sessions[session]) // 2, 2))
        sessions[session][place:place] = alternating([statement.text], names)
        questions.append(
            Question(f"{name}/{session}", asked, (message_id(session, place),), statement.field)
        )
    return Memory(history(name, sessions, roll), tuple(questions))
