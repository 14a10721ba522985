"""Development collections, made from small talks of our own."""

from __future__ import annotations

import json
import lzma
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from evals.collections import allusions, corpora, load, meetings, preferences, replies, scopes
from evals.collections.base import Memory, Said, content, dice, history
from evals.collections.corpora import Talk
from evals.data.files import DataError
from evals.data.loaders import ChatSession, ChatTurn, LongMemEvalQuestion

KEEPER = [
    "Our goalkeeper broke two fingers before the derby.",
    "That sounds painful, poor fellow.",
    "The whole squad visited him afterwards.",
    "Which striker took his gloves then?",
    "Without him between the posts we conceded seven on that muddy pitch.",
]
BREAD = [
    "My sourdough starter finally bubbled overnight.",
    "Lovely, congratulations to you!",
    "Rye flour did the trick I suppose.",
    "Patience helps with most doughs.",
    "The crust came out of the oven dark and crackling.",
]


def talks(count: int) -> list[list[str]]:
    """Talks that differ by a name, in every third of which is said in one breath what goes
    together, and many times as many of other things."""
    made = []
    for number in range(count):
        for name, talk in (("Ida", KEEPER), ("Udo", BREAD)):
            lines = [f"{line} {name}{number}" if at == 1 else line for at, line in enumerate(talk)]
            made.append(lines if number % 3 else [lines[0], lines[4], *lines[1:4]])
    return made + [
        [f"Word{number} and thing{at}." for at in range(5)] for number in range(40 * count)
    ]


def everything(memory: Memory) -> dict[str, str]:
    return {message.id: message.text for message in memory.history.messages}


def test_an_allusion_shares_no_word_with_what_it_rests_on() -> None:
    found = list(allusions.allusions(Talk(talks(12), [])))
    assert found
    assert found == list(allusions.allusions(Talk(talks(12), [])))
    for memory in found:
        texts = everything(memory)
        assert len({message.session for message in memory.history.messages}) == allusions.SESSIONS
        for question in memory.questions:
            (evidence,) = question.evidence
            assert not content(question.text) & content(texts[evidence])
            # What was said later is taken out.
            session = evidence.split(":")[0]
            assert sum(key.startswith(f"{session}:") for key in texts) == 3


def test_an_allusion_needs_words_that_go_together() -> None:
    together = allusions.Association(talks(12))
    assert together.of(content(KEEPER[0]), content(KEEPER[4])) > allusions.ASSOCIATED
    assert together.of(content(KEEPER[0]), content(BREAD[3])) == 0.0


STATEMENTS = [
    "I love sushi.",
    "My favorite band plays jazz.",
    "I really enjoy chess.",
    "I like cats.",
]


def test_a_request_shares_no_word_with_the_preference_and_others_say_nothing_in_its_field() -> None:
    corpus = Talk(talks(60), [[text, "Really?"] for text in STATEMENTS * 90])
    found = list(preferences.preferences(corpus))
    assert len(found) > 3
    for memory in found:
        texts = everything(memory)
        for question in memory.questions:
            (evidence,) = question.evidence
            assert texts[evidence] in STATEMENTS
            assert not content(question.text) & content(texts[evidence])
            others = [text for key, text in texts.items() if key != evidence]
            field = preferences.FIELD_LIST[question.group]
            stated = [text for text in others if content(text) & field.words]
            assert all(text in STATEMENTS for text in stated)


def test_a_statement_of_several_fields_or_a_question_is_none() -> None:
    found = preferences.find(
        iter(["I love sushi and jazz.", "I love what?", "It rains.", "I love sushi."])
    )
    assert [one.text for part in found.values() for one in part] == ["I love sushi."]


def test_a_stretch_of_a_meeting_is_split_at_its_speakers() -> None:
    text = 'Project Manager: Yes. So on: fine. User Interface: No. PhD F: Well, "go". Marketing: '
    assert meetings.turns(text) == [
        Said("Project Manager", "Yes. So on: fine."),
        Said("User Interface", "No."),
        Said("PhD F", 'Well, "go".'),
    ]


def test_meetings_have_long_turns_as_evidence() -> None:
    pairs = [
        (
            f"What was said of item {n}?",
            f"Chair: Item {n} will be decided in the next meeting. A: Ok.",
        )
        for n in range(2 * meetings.SESSIONS)
    ]
    found = list(meetings.meetings(pairs))
    assert len(found) == 2
    for memory in found:
        assert len(memory.questions) == meetings.QUESTIONS
        for question in memory.questions:
            (evidence,) = question.evidence
            assert everything(memory)[evidence].split()[1] == question.text.split()[-1].rstrip("?")


def haystack() -> LongMemEvalQuestion:
    time = datetime(2023, 5, 1)
    sessions = tuple(
        ChatSession(
            f"s{n}",
            time + timedelta(days=n),
            (
                ChatTurn("user", f"Could you please explain to me what topic {n} is about?", False),
                ChatTurn("assistant", f"Topic {n} is wide. " * 40, False),
            ),
        )
        for n in range(12)
    )
    return LongMemEvalQuestion("q", "t", "?", time + timedelta(days=30), "", (), sessions)


def test_a_long_reply_is_asked_for_by_a_message_that_is_taken_out() -> None:
    (memory,) = replies.from_haystacks([haystack()])
    texts = everything(memory)
    assert len(memory.questions) == replies.QUESTIONS
    for question in memory.questions:
        (evidence,) = question.evidence
        assert question.text not in texts.values()
        assert texts[evidence].split()[1] == question.text.split()[8]


def small_memory(turns: int) -> Memory:
    from evals.collections import Question

    said = [[Said("Ana", f"Number {n}.")] * 2 for n in range(turns // 2)]
    made = history("small", said, dice("small"))
    return Memory(made, (Question("q", "Which?", (made.messages[turns // 3].id,)),))


@pytest.mark.parametrize("turns", [1, 7, 40])
def test_a_memory_is_cut_around_its_evidence(turns: int) -> None:
    memory = small_memory(40)
    cut = scopes.resized(memory, memory.questions[0], turns)
    kept = [message.id for message in cut.history.messages]
    assert len(kept) == turns
    assert memory.questions[0].evidence[0] in kept


def test_merged_memories_know_which_questions_are_their_own() -> None:
    memories = {"locomo": [small_memory(40) for _ in range(8)]}
    merged = scopes.merged(memories, 100, ["locomo"])
    assert merged is not None
    memory, own, foreign = merged
    kept = {message.id for message in memory.history.messages}
    assert len(kept) == 100
    assert own
    assert foreign
    assert all(kept.issuperset(question.evidence) for question in own)
    assert scopes.merged(memories, 10_000, ["locomo"]) is None


def test_corpora_are_read_in_the_order_in_which_they_were_said(tmp_path: Path) -> None:
    for folder in ("text", "pairs"):
        (tmp_path / "distill" / folder).mkdir(parents=True)
    talk = [*KEEPER, "And then?", *BREAD]
    for corpus in ("topicalchat", "synthpersonachat"):
        path = tmp_path / "distill" / "text" / f"{corpus}.txt.xz"
        path.write_bytes(lzma.compress("\n".join(talk).encode()))
    pairs = [
        {"q": a, "p": b, "src": "topicalchat", "type": "dialogue_next"}
        for a, b in [*pairwise(KEEPER), *pairwise(BREAD)]
    ] + [{"q": "Why?", "p": "Chair: So.", "src": "qmsum", "type": "dialogue_qa"}]
    lines = "\n".join(json.dumps(pair) for pair in pairs)
    path = tmp_path / "distill" / "pairs" / "pairs_open.jsonl.xz"
    path.write_bytes(lzma.compress(lines.encode()))
    assert corpora.talk(tmp_path).sure == [KEEPER, BREAD]
    assert corpora.meeting_questions(tmp_path) == [("Why?", "Chair: So.")]
    with pytest.raises(DataError, match="distill"):
        list(load("meetings", tmp_path / "nowhere").memories)
