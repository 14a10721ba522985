"""A long message beside short ones: found and shown by its passages, and in nobody's way."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hymem import Context, HyMem
from hymem.text import tokens
from hymem.text.tokens import count_tokens

LOG = " ".join(f"error {i} at line {7 * i} in module foo{i % 50} of server" for i in range(1500))


def chat() -> HyMem:
    memory = HyMem(":memory:", llm=None, background=False)
    memory.add(
        [
            {"role": "user", "content": f"Note {i}: the {('red', 'blue')[i % 2]} boat needs rope."}
            for i in range(60)
        ]
        + [{"role": "user", "content": "My server is called Hermes."}],
        user_id="u",
    )
    return memory


def quickest(work: Callable[[], object], times: int = 7) -> float:
    """Seconds of this thread's own time, so that a busy machine does not count."""
    spent = []
    for _ in range(times):
        started = time.thread_time()
        work()
        spent.append(time.thread_time() - started)
    return min(spent)


def test_pasted_logs_slow_down_no_recall_and_hide_nothing() -> None:
    with chat() as memory:

        def recall() -> str:
            return memory.recall("What is my server called?", user_id="u", max_tokens=800).text

        before = quickest(recall)
        for number in range(6):
            memory.add(f"Here is log number {number}: {LOG}", user_id="u", session_id=str(number))
        assert "Hermes" in recall()
        assert quickest(recall) < before + 0.05  # counting them anew took half a second
        question = "What is my server called?"
        assert "Hermes" in memory.ask(question, user_id="u").text
        assert (
            quickest(lambda: memory.ask(question, user_id="u"), 3) < 0.3
        )  # reading them whole took twice that


def test_what_a_long_message_says_somewhere_is_found_and_shown() -> None:
    filler = [f"On day {n} we walked along the coast and rested at noon." for n in range(300)]
    filler[211] = "The spare key hangs behind the barometer."
    with chat() as memory:
        memory.add(" ".join(filler), user_id="u", session_id="diary")
        (hit, *_) = memory.search("Where does the spare key hang?", user_id="u")
        best = hit.passages[hit.best[0]]
        assert "barometer" in hit.text[best.start : best.end]
        assert hit.tokens == sum(one.tokens for one in hit.passages)
        block = memory.recall("Where does the spare key hang?", user_id="u", max_tokens=400)
        assert "barometer" in block.text
        assert "… " in block.text
        assert block.tokens <= 400
        longer = memory.recall("Where does the spare key hang?", user_id="u", max_tokens=20_000)
        assert filler[0] in longer.text
        assert filler[299] in longer.text
        answer = memory.ask("Where does the spare key hang?", user_id="u")
        assert "barometer" in answer.text


TOPICS = ("the boat", "a server", "my garden", "the piano", "our journey", "his exam")


def essays() -> HyMem:
    """Long messages, each of some ten passages of 128 tokens, and short ones between them."""
    memory = HyMem(":memory:", llm=None, background=False)
    memory.add(
        [
            {"role": "user", "content": text, "session_id": str(number)}
            for number, topic in enumerate(
                [f"{topic}, part {n}," for n in range(5) for topic in TOPICS]
            )
            for text in (
                " ".join(
                    f"About {topic} there is this to say on day {day}, which is number {day * 7}."
                    for day in range(40 + number)
                ),
                f"So much for {topic}.",
            )
        ],
        user_id="u",
    )
    return memory


def held_in(block: Context, others: Context) -> bool:
    """Whether a block holds all pieces of text that another one holds."""
    texts = {hit.id: hit.text for hit in block.evidence}
    return all(
        piece in texts.get(hit.id, "")
        for hit in others.evidence
        for piece in hit.text.strip("… ").split(" … ")
    )


@pytest.mark.parametrize("adaptive", [False, True])
@pytest.mark.parametrize("text", ["What is there to say about my garden?", "thanks!"])
def test_a_larger_block_holds_all_that_smaller_ones_held_and_is_full(
    text: str, adaptive: bool
) -> None:
    before = None
    with essays() as memory:
        for budget in range(20, 2_400, 47):
            block = memory.recall(text, user_id="u", max_tokens=budget, adaptive=adaptive)
            assert block.tokens == count_tokens(block.text) <= budget
            if not adaptive:
                assert block.tokens > budget - 30  # less than one sentence
            assert before is None or held_in(block, before)
            before = block


def test_a_long_message_that_is_updated_is_cut_anew() -> None:
    text = " ".join(f"Line {n} speaks of rope and sails." for n in range(100))
    with chat() as memory:
        (number,) = memory.add(text, user_id="u")
        memory.update(number, text.replace("Line 70", "The anchor"), user_id="u")
        (hit, *_) = memory.search("Where does it speak of the anchor?", user_id="u")
        best = hit.passages[hit.best[0]]
        assert "anchor" in hit.text[best.start : best.end]
        memory.update(number, "Nothing but rope.", user_id="u")
        (hit, *_) = memory.search("nothing but rope", user_id="u")
        assert (hit.text, len(hit.passages)) == ("Nothing but rope.", 0)


def test_an_import_makes_passages_and_tokens_anew(tmp_path: Path) -> None:
    text = " ".join(f"Line {n} speaks of rope and sails." for n in range(100))
    file = tmp_path / "all.jsonl"
    question = "Where does the server run, and what does line 70 speak of?"
    with chat() as memory, HyMem(":memory:", llm=None, background=False) as other:
        memory.add(text, user_id="u")
        memory.export(file, user_id="u")
        other.import_(file)
        other.flush(user_id="u")
        before, after = (one.search(question, user_id="u", limit=5) for one in (memory, other))
        assert [(hit.text, hit.best) for hit in after] == [(hit.text, hit.best) for hit in before]
        assert [*after[0].passages] == [*before[0].passages]


def test_deleted_messages_leave_no_token_ids(tmp_path: Path) -> None:
    text = " ".join(f"Line {n} speaks of rope and sails." for n in range(100))
    with HyMem(tmp_path / "chat.db", llm=None, background=False) as memory:
        ids = memory.add(text, user_id="u")
        memory.add("Short.", user_id="u")
        memory.add("Another's.", user_id="v")

        def rows() -> int:
            with sqlite3.connect(tmp_path / "chat.db") as connection:
                count: int = connection.execute("SELECT count(*) FROM tokens").fetchone()[0]
            return count

        assert rows() == 3
        assert "Short." in tokens._recent
        memory.delete(ids[0], user_id="u")
        assert not tokens._recent
        assert rows() == 2
        memory.delete_all(user_id="u")
        assert rows() == 1
