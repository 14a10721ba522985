"""Extraction by rules: what is kept, how it is worded, dated and linked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem.offline import OfflineExtractor
from hymem.offline.facts import changing_fact
from hymem.offline.sentences import captions, split_sentences, weight
from hymem.types import Statement, Turn

SAID = datetime(2026, 3, 2, 9, 30)


def extract(*said: tuple[str, str]) -> list[Statement]:
    turns = [
        Turn(id=i, role="user", speaker=speaker, text=text, time=SAID + timedelta(minutes=i))
        for i, (speaker, text) in enumerate(said)
    ]
    (statements,) = OfflineExtractor().extract([turns])
    return statements


def test_a_statement_is_attributed_dated_and_linked() -> None:
    (statement,) = extract(("Mara", "I moved to Lyon last week."))
    assert statement.text == "Mara: I moved to Lyon last week (23 February–1 March 2026)."
    assert statement.sources == (0,)
    assert (statement.subject, statement.attribute) == ("Mara", "home")


def test_the_time_of_a_statement_is_when_it_happened() -> None:
    (past,) = extract(("Mara", "I ran a marathon in Berlin last Saturday."))
    assert past.time == datetime(2026, 2, 28)
    (undated,) = extract(("Mara", "I ran a marathon in Berlin."))
    assert undated.time == SAID
    (plan,) = extract(("Mara", "My lease in Berlin ends on June 30."))
    assert plan.time == datetime(2026, 6, 30)


def test_where_nothing_tells_the_year_the_words_and_the_time_of_saying_stay() -> None:
    (statement,) = extract(("Mara", "My grandmother Rosa was born on 7 May."))
    assert statement.text == "Mara: My grandmother Rosa was born on 7 May."
    assert statement.time == SAID


@pytest.mark.parametrize(
    "text",
    [
        "We fly to Lisbon on July 10.",
        "Saturday works for me, I bring the tent.",
        "June works for my brother Oskar as well.",
    ],
)
def test_months_and_weekdays_are_nobody(text: str) -> None:
    for statement in extract(("Mara", text)):
        assert (statement.subject, statement.attribute) == (None, None)


def test_a_fact_that_can_change_keeps_the_time_of_saying() -> None:
    (statement,) = extract(("Mara", "I moved to Lyon last week."))
    assert statement.time == SAID


def test_a_short_answer_is_joined_with_its_question() -> None:
    (statement,) = extract(("Theo", "Lovely! What's your dog's name?"), ("Mara", "Biscuit!"))
    assert statement.text == "Mara, asked \"What's your dog's name?\": Biscuit!"
    assert statement.sources == (0, 1)


def test_a_speaker_does_not_answer_herself() -> None:
    statements = extract(("Mara", "Guess what?"), ("Mara", "I bought a piano in Vienna."))
    assert [statement.sources for statement in statements] == [(1,)]


@pytest.mark.parametrize(
    "text",
    [
        "Thanks so much!",
        "Hey! How are you?",
        "Wow, that's amazing!",
        "Have a great day, talk soon!",
        "Oh, sounds lovely.",
        "What do you think about the new museum in Oslo?",
        "",
    ],
)
def test_greetings_thanks_reactions_and_questions_are_left_out(text: str) -> None:
    assert extract(("Mara", text)) == []


def test_a_sentence_that_leans_on_the_one_before_is_kept_with_it() -> None:
    (statement,) = extract(("Mara", "My sister opened a bakery in Porto. It sells rye bread."))
    assert statement.text == "Mara: My sister opened a bakery in Porto. It sells rye bread."


def test_captions_are_kept() -> None:
    (statement,) = extract(("Mara", "I painted this in Crete. [picture: a red boat at dusk]"))
    assert statement.text == "Mara: I painted this in Crete. (picture: a red boat at dusk)"
    (alone,) = extract(("Mara", "Look! [picture: a red boat at dusk]"))
    assert alone.text == "Mara shared a picture: a red boat at dusk"


def test_a_long_turn_gives_more_statements_but_not_all_sentences() -> None:
    sentence = "The committee of the {} museum met in Vienna to plan exhibition {}. "
    text = "".join(sentence.format(name, n) for n, name in enumerate("abcdefghijklmnopqrst"))
    statements = extract(("assistant", text))
    assert 2 < len(statements) < 20


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b"]), st.text(max_size=300)), min_size=1, max_size=8),
    st.sampled_from([None, SAID, SAID.replace(tzinfo=UTC)]),
)
def test_any_text_is_accepted_and_sources_are_in_range(
    said: list[tuple[str, str]], time: datetime | None
) -> None:
    turns = [
        Turn(id=i, role="user", speaker=speaker, text=text, time=time)
        for i, (speaker, text) in enumerate(said)
    ]
    (statements,) = OfflineExtractor().extract([turns])
    for statement in statements:
        assert statement.text.strip()
        assert all(0 <= index < len(turns) for index in statement.sources)


@pytest.mark.parametrize(
    ("sentence", "fact"),
    [
        ("I moved to Lyon last week.", ("Mara", "home")),
        ("We moved back to Oslo in May.", ("Mara", "home")),
        ("I'm living in a tiny flat in Riga.", ("Mara", "home")),
        ("My brother lives in Rome.", ("Mara's brother", "home")),
        ("I work as a nurse.", ("Mara", "job")),
        ("I got a new job at the harbour!", ("Mara", "job")),
        ("I teach physics to teenagers.", ("Mara", "job")),
        ("I'm engaged!", ("Mara", "relationship")),
        ("I turned 34.", ("Mara", "age")),
        ("I've gone vegan.", ("Mara", "diet")),
        ("My favourite colour is green.", ("Mara", "favourite colour")),
        ("My personal best is now 25:50.", ("Mara", "personal best")),
    ],
)
def test_facts_that_can_change_are_recognised(sentence: str, fact: tuple[str, str]) -> None:
    assert changing_fact(sentence, "Mara") == fact


@pytest.mark.parametrize(
    "sentence",
    [
        "I'd love to live in Paris.",
        "I used to live in Rome.",
        "I'm thinking of moving to Bern.",
        "I work out every day.",
        "I'm working on a book.",
        "I got a kitten.",
        "Moving house is awful.",
    ],
)
def test_wishes_plans_bygones_and_other_matters_are_not(sentence: str) -> None:
    assert changing_fact(sentence, "Mara") is None


def test_sentences_end_where_they_should() -> None:
    assert split_sentences("Dr. Lee called. She's fine!\n- one\n- two") == [
        "Dr. Lee called.",
        "She's fine!",
        "one",
        "two",
    ]
    assert captions("Look [photo: a cat] and [1]") == ["photo: a cat"]


def test_a_telling_sentence_outweighs_a_reaction() -> None:
    assert weight("I adopted a greyhound in Porto.") > weight("That's so great!")
