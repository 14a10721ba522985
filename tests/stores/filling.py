"""A small real encoder (hashed words, projected at random) and short ways to fill a store."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hymem.stores.base import AskedTokens, NewTurn, NewUnit, Store
from hymem.stores.sqlite import SQLiteStore
from hymem.text.words import terms
from hymem.types import Scope

DIM = 32
VOCABULARY = 997
CODES = np.random.default_rng(5).normal(size=(VOCABULARY, 8)).astype(np.float32)
CODES /= np.linalg.norm(CODES, axis=1, keepdims=True)
ANA = Scope("ana")
BEN = Scope("ben")
# What a program started by a test must have on its path, whatever pytest has put on its own.
PATHS = [str(Path(__file__).parent), str(Path(__file__).parents[2])]


def encode(text: str) -> NDArray[np.float32]:
    """``float32[DIM]``, a unit vector: the sum of one fixed random vector per term."""
    total = np.random.default_rng(1).normal(size=DIM) * 1e-3
    for term in terms(text):
        total = total + np.random.default_rng(zlib.crc32(term.encode())).normal(size=DIM)
    return (total / np.linalg.norm(total)).astype(np.float32)


def tokens_of(text: str) -> NDArray[np.uint16]:
    """One token per word."""
    return np.array([zlib.crc32(term.encode()) % VOCABULARY for term in terms(text)], np.uint16)


def codes_of(ids: NDArray[np.uint16]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = CODES[ids]
    return found


def asked(text: str) -> AskedTokens:
    """A question's tokens."""
    tokens = tokens_of(text)
    return AskedTokens(tokens, np.ones(len(tokens), np.float32), codes_of)


def turn(text: str, session: str = "s1", *, keys: int = 1, **more: Any) -> NewTurn:
    fields: dict[str, Any] = {
        "role": "user",
        "speaker": "Ana",
        "text": text,
        "lexical": text,
        "tokens": len(text.split()),
        "vectors": np.array([encode(f"{text} {'x' * part}") for part in range(keys)]),
        "token_ids": [tokens_of(text)] * keys,
        "session_id": session,
    }
    if not keys:
        fields["vectors"] = np.zeros((0, DIM), np.float32)
    if "vectors" in more:
        fields["token_ids"] = None
    return NewTurn(**{**fields, **more})


def unit(text: str, sources: Sequence[int], **more: Any) -> NewUnit:
    fields: dict[str, Any] = {
        "text": text,
        "lexical": text,
        "tokens": len(text.split()),
        "vector": encode(text),
        "token_ids": [tokens_of(text)],
        "time": datetime(2026, 3, 2, tzinfo=UTC),
        "source_turns": tuple(sources),
    }
    return NewUnit(**{**fields, **more})


def open_store(path: str | Path, **more: Any) -> SQLiteStore:
    fields = {"encoder_name": "hashed", "encoder_version": "1", "dim": DIM}
    return SQLiteStore(str(path), **{**fields, **more})


def extract(
    store: Store, scope: Scope, turns: Sequence[int], units: Sequence[NewUnit]
) -> tuple[int, list[int]]:
    """One finished event over ``turns``: its id and its units' ids."""
    store.add_events(scope, [(turns, turns)])
    lease = store.lease_events(scope, 1, 60.0)
    assert lease is not None
    (event,) = lease.events
    return event.id, store.complete_event(lease, event.id, units)


def found(store: Store, scope: Scope, query: str, limit: int = 10, **more: Any) -> list[int]:
    """Ids of lexical candidates."""
    return [int(i) for i in store.candidates(scope, None, query, limit, **more).ids]
