"""Terms of lexical search."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem.text.words import LONGEST_TERM, _stem, _stemmer, fold, forget_words, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("Where is Ana's car?", ["ana", "car"]),
        ("She was RUNNING, runs and ran", ["run", "run", "ran"]),
        ("room 101 costs 2,000", ["room", "101", "cost", "2", "000"]),
        ("naïve café Straße", ["naiv", "cafe", "strass"]),
        ("ＡＢＣ １２", ["abc", "12"]),
        ("snake_case", ["snake", "case"]),
        ("שָׁלוֹם", ["שלום"]),
        ("مَرْحَبًا", ["مرحبا"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("서울에서", ["서울", "울에", "에서"]),
        ("ラーメン", ["ラー", "ーメ", "メン"]),
        ("ราคา", ["รา", "าค", "คา"]),
        ("happy 🎂", ["happi", "🎂"]),
        ("\x00 nul \ud800 lone", ["nul", "lone"]),
    ],
)
def test_terms(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_a_japanese_noun_is_parted_from_its_particle() -> None:
    assert set(terms("猫は")) & set(terms("黒い猫が好き")) == {"猫"}


def test_ideographs_match_as_words_and_as_parts() -> None:
    assert set(terms("北京")) == {"北", "京", "北京"}
    assert "猫" in terms("我喜欢猫咪")


def test_the_same_word_with_and_without_accents_in_any_case_is_one_term() -> None:
    assert terms("CAFÉ") == terms("cafe\u0301") == terms("café") == terms("Cafe")


def test_a_run_of_letters_without_end_is_cut() -> None:
    assert [len(term) for term in terms("x" * 100_000)] == [LONGEST_TERM]


@given(st.text(st.characters()))
def test_any_string_is_taken_and_terms_do_not_depend_on_case(text: str) -> None:
    assert all(term and len(term) <= LONGEST_TERM for term in terms(text))
    assert fold(text) == fold(fold(text)) or not text.isascii()


@given(st.text("abc ABC 123"), st.text("xyz XYZ 789"))
def test_terms_of_a_text_are_those_of_its_parts(first: str, second: str) -> None:
    assert terms(f"{first} {second}") == terms(first) + terms(second)


@given(st.text("abcdefghijklmnopqrstuvwxyz", min_size=50, max_size=120))
def test_long_words_have_the_same_term_whether_stemmed_or_cut(word: str) -> None:
    assert terms(word) == [_stemmer().stemWord(word)[:LONGEST_TERM]]


def test_long_words_are_not_kept() -> None:
    forget_words()
    terms(" ".join("ab" * 500 + str(number) for number in range(50)) + " running")
    assert _stem.cache_info().currsize == 1
    forget_words()
    assert _stem.cache_info().currsize == 0
