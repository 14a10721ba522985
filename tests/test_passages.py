"""Long texts in passages: cut linearly, whole sentences, nothing lost, whatever they consist of."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem.context import CLOSE, OPEN
from hymem.keys import turn_keys
from hymem.passages import PASSAGE_CHARACTERS, PASSAGE_TOKENS, cut
from hymem.tokens import count_many, count_tokens

CHARACTERS = st.characters(exclude_categories=["Cs"]) | st.sampled_from("ab .?!\n。猫")
TEXTS = st.text(CHARACTERS, max_size=600) | st.lists(
    st.sampled_from(
        ["Ana came home.", "Why?", "x" * 150, "猫が好き。", "\n", "no end here", "1.5 kg"]
    ),
    max_size=60,
).map(" ".join)


@given(TEXTS, st.integers(1, 40))
def test_passages_hold_the_text_in_order_and_fit(text: str, longest: int) -> None:
    found = cut(text, 0, len(text), longest)
    place = 0
    for one in found:
        assert not text[place : one.start].strip()
        assert one.start < one.end
        part = text[one.start : one.end]
        assert part == part.strip()
        assert one.tokens <= longest or one.end - one.start < 2 or len(part.split()) == 1
        assert len(part) <= PASSAGE_CHARACTERS
        place = one.end
    assert not text[place:].strip()


@given(st.lists(st.sampled_from(["Ana came home.", "Why did it rain?", "Yes!"]), min_size=1))
def test_passages_are_of_whole_sentences_and_counted(sentences: list[str]) -> None:
    text = " ".join(sentences)
    for one in cut(text, 0, len(text), 12):
        part = text[one.start : one.end]
        assert part[-1] in ".?!"
        assert part[0].isupper()
        assert one.tokens == count_tokens(part) <= 12


def test_a_long_turns_keys_carry_its_speaker_and_have_a_passage_each() -> None:
    text = " ".join(f"Step {number}: knead for {number} minutes." for number in range(60))
    keys = turn_keys("Ana", text, 256)
    assert len(keys.texts) == len(keys.passages) > 3
    for key, one in zip(keys.texts, keys.passages, strict=True):
        assert key == f"Ana: {text[one.start : one.end]}"
        assert one.lexical == f"Ana {text[one.start : one.end]}"
        assert one.tokens <= PASSAGE_TOKENS
        assert count_tokens(key) <= 254


def test_a_short_turn_is_its_own_key() -> None:
    assert turn_keys("Ana", "I moved.", 64).texts == ["Ana: I moved."]
    middling = "I moved to the house by the river. " * 10
    assert turn_keys("Ana", middling, 256).texts == [f"Ana: {middling}"]
    assert not turn_keys("Ana", middling, 256).passages
    assert not turn_keys("Ana", f"{OPEN}\nold\n{CLOSE} ", 64).texts


def test_a_small_window_makes_small_passages() -> None:
    keys = turn_keys("Ana", "I moved to the house by the river. " * 10, 32)
    assert len(keys.texts) > 2
    assert all(count_tokens(key) <= 30 for key in keys.texts)


def test_a_speaker_longer_than_the_window_is_left_out() -> None:
    assert turn_keys("A " * 80, "I moved.", 64).texts == ["I moved."]


def test_recalled_text_is_in_no_passage() -> None:
    said = "The boat needs new sails before summer. " * 20
    text = f"{said}{OPEN}\n{'An old memory. ' * 50}\n{CLOSE}{said}"
    keys = turn_keys("Ana", text, 256)
    assert len(keys.texts) > 2
    assert not any("memory" in key for key in keys.texts)
    assert sum(key.count("sails") for key in keys.texts) == 40


ENDLESS = ["word ", "x", ". ", "\n", " ", ".", "猫", "a.", "é", '."']


@pytest.mark.parametrize("part", ENDLESS, ids=repr)
def test_cutting_takes_linear_time(part: str) -> None:
    text = part * (1_000_000 // len(part))
    started = time.process_time()
    found = cut(text, 0, len(text), PASSAGE_TOKENS)
    assert time.process_time() - started < 20  # quadratic, it would be many minutes
    assert max((one.tokens for one in found), default=0) <= PASSAGE_TOKENS
    assert max((one.end - one.start for one in found), default=0) <= PASSAGE_CHARACTERS


def test_a_word_without_end_is_no_single_token() -> None:
    assert count_tokens("x" * 100_000) > 20_000
    assert count_tokens("é" * 100_000) > 20_000
    assert count_tokens("猫" * 200) == 200
    assert count_tokens("word " * 10_000) == 10_000
    assert count_many(["word " * 10_000, "a"]) == [10_000, 1]
