"""A store written by HyMem 0.1.0 (``data/store-0.1.0.db.gz``: 11 turns and 9 units, one turn
updated, one deleted) is brought forward, and only what is long is encoded anew."""

from __future__ import annotations

import gzip
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hymem import EncoderMismatchError, HyMem
from hymem.reembedding import reembed
from hymem.stores.base import AskedTokens, Candidates
from hymem.types import Encoder, Scope
from hymem.wiring import open_store
from snn_encoder import SpikingEncoder

OLD = Path(__file__).parent / "data" / "store-0.1.0.db.gz"
ANA = Scope("ana")
LONG = {9, 10}  # turns that are cut into passages today, and encoded anew for that
ENCODER = SpikingEncoder.from_pretrained("small")


class Plain:
    """The same encoder without token codes."""

    name, version, dim = ENCODER.name, ENCODER.version, ENCODER.dim
    max_tokens = ENCODER.max_tokens

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return ENCODER.encode(texts)


class OtherWords(Plain):
    """The same encoder with token ids of another vocabulary."""

    vocabulary = "other-1"

    def token_ids(self, texts: Sequence[str]) -> list[NDArray[np.uint16]]:
        return [ids + np.uint16(1) for ids in ENCODER.token_ids(texts)]

    def token_codes(self, ids: NDArray[np.uint16]) -> NDArray[np.float32]:
        return ENCODER.token_codes(ids - np.uint16(1))

    def token_weights(self, ids: NDArray[np.uint16]) -> NDArray[np.float32]:
        return ENCODER.token_weights(ids - np.uint16(1))


def test_failed_events_of_an_old_store_are_due_at_once(old: Path) -> None:
    connection = sqlite3.connect(old)
    connection.execute("UPDATE events SET status = 'failed'")
    connection.commit()
    connection.close()
    with HyMem(old, llm=None, background=False) as memory:
        status = memory.status(user_id="ana")
        assert status.given_up == 0
        assert status.next_try is not None
        assert status.next_try < datetime.now(UTC)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "chat.db"
    path.write_bytes(gzip.decompress(OLD.read_bytes()))
    return path


def rows(path: Path) -> dict[int, tuple[bytes, bytes | None]]:
    """Vectors and token ids of each item."""
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT * FROM vectors LEFT JOIN tokens USING (item)").fetchall()
    connection.close()
    return {item: (keys, ids) for item, keys, ids in found}


def vectors(path: Path) -> dict[int, bytes]:
    connection = sqlite3.connect(path)
    found = dict(connection.execute("SELECT item, keys FROM vectors").fetchall())
    connection.close()
    return found


def vectors_of_short(path: Path) -> dict[int, bytes]:
    return {item: keys for item, keys in vectors(path).items() if item not in LONG}


def look(path: Path, question: str, encoder: Encoder = ENCODER) -> Candidates:
    """Every item of Ana's, as a search scores it."""
    (ids,) = ENCODER.token_ids([question])
    store = open_store(path, encoder)
    try:
        vector = encoder.encode([question])[0]
        asked = AskedTokens(ids, ENCODER.token_weights(ids), ENCODER.token_codes)
        return store.candidates(ANA, vector, question, 99, tokens=asked)
    finally:
        store.close()


def test_an_old_store_gets_its_token_ids_and_keeps_its_vectors(old: Path) -> None:
    before = vectors_of_short(old)
    with HyMem(old, llm=None, background=False) as memory:
        hits = memory.search("Who teaches Ben the cello?", user_id="ana", limit=3)
        assert any("Okafor" in hit.text for hit in hits)
        (recipe, *_) = memory.search("What is the secret ingredient?", user_id="ana")
        assert "cold espresso" in recipe.text
    assert vectors_of_short(old) == before
    assert {item for item, (_, ids) in rows(old).items() if ids is None} == LONG


def test_its_long_turns_are_cut_into_passages_behind_the_scenes(old: Path) -> None:
    before = vectors_of_short(old)
    with HyMem(old, llm=None, background=False) as memory:
        assert memory.status(user_id="ana").unembedded == len(LONG)
        memory.flush(user_id="ana")
        assert memory.status(user_id="ana").unembedded == 0
        (recipe, *_) = memory.search("What is the secret ingredient?", user_id="ana")
        (best, *_) = recipe.best
        passage = recipe.passages[best]
        assert "cold espresso" in recipe.text[passage.start : passage.end]
    assert before.items() <= vectors_of_short(old).items()
    assert all(ids for _, ids in rows(old).values())


def test_what_it_finds_is_what_a_store_made_today_finds(old: Path, tmp_path: Path) -> None:
    with HyMem(old, llm=None, background=False) as memory:
        memory.flush(user_id="ana")
        turns = [item for item in memory.get_all(user_id="ana") if hasattr(item, "role")]
    new = tmp_path / "new.db"
    with HyMem(new, llm=None, background=False) as memory:
        for turn in turns:
            said = {"role": turn.role, "name": turn.speaker, "content": turn.text}
            memory.add([said], user_id="ana", session_id=turn.session_id, timestamp=turn.time)
    for question in ("What does Ana restore?", "Which secret goes into the dough?"):
        mine, theirs = look(old, question), look(new, question)
        mine_turns = np.flatnonzero(~mine.is_unit)
        assert len(mine_turns) == len(theirs.ids) == len(turns)
        np.testing.assert_allclose(mine.late[mine_turns], theirs.late, atol=1e-5)
        assert theirs.late.max() > 0.3


INTERRUPTED = """
import os, signal, sys
from hymem.encoders import key_vectors as embed
from hymem.stores.sqlite import SQLiteStore
from hymem import HyMem
embed.ITEMS_PER_CALL = 4
put, calls = SQLiteStore.put_token_ids, []
def put_and_die(self, ids):
    put(self, ids)
    calls.append(ids)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
SQLiteStore.put_token_ids = put_and_die
HyMem(sys.argv[1], llm=None)
"""


def test_filling_in_goes_on_where_it_was_killed(old: Path) -> None:
    before = vectors_of_short(old)
    killed = subprocess.run([sys.executable, "-c", INTERRUPTED, str(old)], check=False)
    assert killed.returncode == -signal.SIGKILL
    half = rows(old)
    assert sum(ids is not None for _, ids in half.values()) == 8
    with HyMem(old, llm=None, background=False):
        pass
    after = rows(old)
    assert {item for item, (_, ids) in after.items() if ids is None} == LONG
    assert all(after[item] == kept for item, kept in half.items() if kept[1] is not None)
    assert vectors_of_short(old) == before


def test_an_encoder_without_token_codes_finds_as_before(old: Path) -> None:
    with HyMem(old, llm=None, background=False, encoder=Plain()) as memory:
        hits = memory.search("Who teaches Ben the cello?", user_id="ana", limit=3)
        assert any("Okafor" in hit.text for hit in hits)
        memory.add("I sold the cello.", user_id="ana")
    assert all(ids is None for _, ids in rows(old).values())
    assert not look(old, "cello", Plain()).late.any()
    with HyMem(old, llm=None, background=False) as memory:  # and later gets what it lacks
        memory.flush(user_id="ana")
    assert all(ids for _, ids in rows(old).values())


@pytest.mark.parametrize("encoder", [Plain(), OtherWords()])
def test_another_vocabulary_is_another_encoder(old: Path, encoder: Encoder) -> None:
    with HyMem(old, llm=None, background=False):
        pass
    before = rows(old)
    with pytest.raises(EncoderMismatchError, match="vocabulary"):
        HyMem(old, llm=None, background=False, encoder=encoder)
    assert reembed(old, encoder) == len(before)
    with HyMem(old, llm=None, background=False, encoder=encoder) as memory:
        assert memory.search("cello", user_id="ana")
    after = rows(old)
    assert after.keys() == before.keys()
    if isinstance(encoder, OtherWords):
        first, second = (np.frombuffer(found[1][1] or b"", "<u2") for found in (before, after))
        np.testing.assert_array_equal(first + 1, second)
    else:
        assert all(ids is None for _, ids in after.values())
