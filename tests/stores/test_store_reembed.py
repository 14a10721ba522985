"""Changing the encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from filling import ANA, BEN, DIM, encode, extract, found, open_store, turn, unit
from numpy.typing import NDArray

from hymem.errors import EncoderMismatchError
from hymem.stores.sqlite import SQLiteStore
from hymem.types import Scope, Turn, Unit


def encode_new(text: str) -> NDArray[np.float32]:
    """An encoder of another dimension."""
    return np.concatenate([encode(text), np.zeros(4, np.float32)])


def open_new(path: Path, **more: bool) -> SQLiteStore:
    return open_store(path, encoder_name="wider", dim=DIM + 4, **more)


def put(store: SQLiteStore, items: list[tuple[Scope, Turn | Unit]]) -> None:
    store.put_reembedded([(item.id, encode_new(item.text)[None], None) for _, item in items])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with open_store(tmp_path / "chat.db") as store:
        ids = store.add_turns(ANA, [turn(f"turn {i}") for i in range(9)])
        extract(store, ANA, ids, [unit("nine turns", ids)])
        store.add_turns(BEN, [turn("ben", vectors=None)])
    return tmp_path / "chat.db"


def test_another_encoder_is_refused_with_the_command_that_helps(path: Path) -> None:
    for other in ({"encoder_name": "b"}, {"encoder_version": "2"}, {"dim": 8}):
        with pytest.raises(EncoderMismatchError, match=r"hymem\.reembed"):
            open_store(path, **other)
    open_store(path).close()


def test_a_store_without_vectors_takes_any_encoder(tmp_path: Path) -> None:
    open_store(tmp_path / "chat.db").close()
    open_new(tmp_path / "chat.db").close()
    with open_new(tmp_path / "chat.db") as store:
        store.add_turns(ANA, [turn("x", vectors=encode_new("x")[None])])
    with pytest.raises(EncoderMismatchError):
        open_store(tmp_path / "chat.db")


def test_reembedding_replaces_every_vector_at_once(path: Path) -> None:
    with open_new(path, reembed=True) as store:
        with pytest.raises(EncoderMismatchError):
            store.candidates(ANA, encode_new("turn"), "", 5)
        seen = []
        while items := store.to_reembed(4):
            assert not store.finish_reembed()
            put(store, items)
            seen += [(scope, item.text) for scope, item in items]
        assert len(seen) == len(set(seen)) == 11
        assert (BEN, "ben") in seen
        assert store.finish_reembed()
        assert store.finish_reembed()
        assert store.to_reembed(4) == []
        got = store.candidates(ANA, encode_new("nine turns"), "", 1)
        assert got.dense[-1] == pytest.approx(1.0, abs=2e-3)
        assert store.status().unembedded == 0
    with pytest.raises(EncoderMismatchError):
        open_store(path)
    open_new(path).close()


def test_an_interrupted_run_goes_on_and_the_old_encoder_serves_meanwhile(path: Path) -> None:
    with open_new(path, reembed=True) as store:
        put(store, store.to_reembed(6))
    with open_store(path) as old:
        assert old.candidates(ANA, encode("nine turns"), "", 1).dense[-1] > 0.99
    with open_new(path, reembed=True) as store:
        assert len(store.to_reembed(100)) == 5


def test_a_run_with_yet_another_encoder_starts_anew(path: Path) -> None:
    with open_new(path, reembed=True) as store:
        put(store, store.to_reembed(6))
    with open_store(path, encoder_name="third", reembed=True) as store:
        assert len(store.to_reembed(100)) == 11


def test_what_changes_meanwhile_is_embedded_too(path: Path) -> None:
    with open_new(path, reembed=True) as new, open_store(path) as old:
        put(new, new.to_reembed(100))
        first = old.list_turns(ANA)[0].id
        old.update_text(ANA, first, "changed", "changed", 1, encode("changed")[None])
        old.delete(ANA, old.list_turns(ANA)[1].id)
        (added,) = old.add_turns(ANA, [turn("added")])
        assert not new.finish_reembed()
        put(new, new.to_reembed(100))
        assert not new.finish_reembed()
        put(new, new.to_reembed(100))
        assert new.finish_reembed()
        assert found(new, ANA, "changed") == [first]
        assert new.candidates(ANA, encode_new("changed"), "", 1).ids.tolist() == [first]
        assert new.candidates(ANA, encode_new("added"), "", 1).ids.tolist() == [added]


def test_a_process_with_the_old_encoder_can_write_and_search_no_more(path: Path) -> None:
    with open_new(path, reembed=True) as new, open_store(path) as old:
        found(old, ANA, "turn")
        item = old.list_turns(ANA)[0]
        while items := new.to_reembed(100):
            put(new, items)
        assert new.finish_reembed()
        for attempt in (
            lambda: old.add_turns(ANA, [turn("x")]),
            lambda: found(old, ANA, "turn"),
            lambda: old.set_vectors(ANA, [(item, encode("x")[None], None, ())]),
        ):
            with pytest.raises(EncoderMismatchError, match=r"hymem\.reembed"):
                attempt()
