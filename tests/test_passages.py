"""Long texts in passages: cut linearly, whole sentences, nothing lost, whatever they consist of."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymem.text.block import CLOSE, OPEN, render
from hymem.text.keys import turn_keys
from hymem.text.passages import PASSAGE_CHARACTERS, PASSAGE_TOKENS, best_first, cut, excerpt
from hymem.text.tokens import count_many, count_tokens
from hymem.types import Hit, Passage, Turn

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


def long_hit(id: int, sentences: list[str], best: tuple[int, ...] = ()) -> Hit:
    """A hit with a passage for every sentence."""
    text, passages = "", []
    for sentence in sentences:
        start = len(text) + bool(text)
        text = f"{text} {sentence}".strip()
        passages.append(Passage(start, len(text), count_tokens(sentence)))
    tokens = count_tokens(text)
    return Hit(
        id, "turn", text, datetime(2026, 3, id), 0.5, (id,), "Ana", "s", tokens, passages, best
    )


STEPS = [f"Step {number}: knead the dough well." for number in range(40)]


def test_an_excerpt_is_of_the_best_passages_marked_as_cut() -> None:
    hit = long_hit(1, STEPS, (7, 8, 3))
    assert excerpt(hit, 1000) is hit
    assert excerpt(hit, 0).text == f"… {STEPS[7]} …"
    assert excerpt(hit, 25).text == f"… {STEPS[7]} {STEPS[8]} …"
    assert excerpt(hit, 40).text == f"… {STEPS[3]} … {STEPS[7]} {STEPS[8]} …"
    assert excerpt(hit, 55).text == f"{STEPS[0]} … {STEPS[3]} … {STEPS[7]} {STEPS[8]} …"
    assert excerpt(long_hit(1, STEPS[:3], (2,)), 0).text == f"… {STEPS[2]}"
    assert not excerpt(hit, 0).passages


def by_id(items: Iterable[Hit | Turn]) -> dict[int, Hit | Turn]:
    return {item.id: item for item in items}


HITS = st.lists(
    st.tuples(st.integers(1, 30), st.lists(st.integers(0, 29), max_size=4, unique=True)),
    min_size=1,
    max_size=5,
)


@given(HITS, st.integers(0, 400), st.integers(0, 400), st.randoms())
def test_blocks_with_long_texts_keep_the_budget_and_only_grow(
    sizes: list[tuple[int, list[int]]], one: int, other: int, dice: Random
) -> None:
    hits = [
        long_hit(id, STEPS[:size], tuple(place for place in best if place < size))
        for id, (size, best) in enumerate(sizes, 1)
    ]
    order = [(place, number) for place, hit in enumerate(hits) for number in best_first(hit)]
    dice.shuffle(order)
    for parts in (order, None):
        less, more = (render(hits, budget, order=parts) for budget in sorted((one, other)))
        for block, budget in ((less, min(one, other)), (more, max(one, other))):
            assert block.tokens == count_tokens(block.text) <= budget
            assert block.complete == ({item.id: item for item in block.used} == by_id(hits))
        shown = by_id(more.used)
        for item in less.used:
            for piece in re.split(r"\s?…\s?", item.text):
                assert piece in shown[item.id].text
        assert [item.id for item in more.used][: len(less.used)] == [item.id for item in less.used]


def test_a_long_text_leaves_room_for_others_and_takes_what_is_left() -> None:
    long, short = long_hit(1, STEPS, (20,)), long_hit(2, ["The key is under the mat."])
    block = render([long, short], 200)
    assert STEPS[20] in block.text
    assert "mat." in block.text
    assert 160 < block.tokens <= 200
    alone = render([long, *(long_hit(id, STEPS, (id,)) for id in range(3, 9))], 200)
    assert len(alone.used) >= 4
    assert render([long, short], 1000).complete
