"""A small conversation of our own, in a real store, for the tests of the read path."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache

from hymem.stores.base import NewTurn, NewUnit
from hymem.stores.sqlite import SQLiteStore
from hymem.text.keys import lexical_text, turn_keys
from hymem.text.tokens import count_tokens
from hymem.types import Scope
from snn_encoder import SpikingEncoder

SCOPE = Scope("talk")

# (session, day, speaker, text)
TALK = [
    ("s1", "2026-01-05", "Ana", "Hi Ben! I finally moved to Lyon, the flat is near the river."),
    ("s1", "2026-01-05", "Ben", "Great news! How is the new job at the museum?"),
    ("s1", "2026-01-05", "Ana", "Lovely people. I restore old maps there, mostly sea charts."),
    ("s1", "2026-01-05", "Ben", "My sister Carla still asks about your sourdough recipe."),
    ("s1", "2026-01-05", "Ana", "I will send it, the secret is rye flour and patience."),
    ("s2", "2026-02-11", "Ben", "I bought a second-hand cello yesterday, a bit scratched."),
    ("s2", "2026-02-11", "Ana", "Wonderful! Who is going to teach you?"),
    ("s2", "2026-02-11", "Ben", "Mr Okafor from the music school on Mill Street."),
    ("s2", "2026-02-11", "Ana", "I had my allergy test on Monday: no more hazelnuts for me."),
    ("s2", "2026-02-11", "Ben", "Oh no, then the nougat from Turin is out."),
    ("s3", "2026-04-20", "Ana", "Big change: I moved again, I live in Grenoble now."),
    ("s3", "2026-04-20", "Ben", "In the mountains! Will you learn to ski?"),
    ("s3", "2026-04-20", "Ana", "Snowshoes first. The museum let me work from home."),
    ("s3", "2026-04-20", "Ben", "My cello teacher says I may play in the spring concert."),
    ("s3", "2026-04-20", "Ana", "I shall be in the first row. When is it?"),
    ("s3", "2026-04-20", "Ben", "On the last Sunday of May, in the old town hall."),
]


@cache
def encoder() -> SpikingEncoder:
    """The shipped encoder, loaded once for all tests."""
    return SpikingEncoder.from_pretrained("small")


def new_store(turns: Sequence[tuple[str, str, str, str]] = TALK) -> tuple[SQLiteStore, list[int]]:
    """A store in memory that holds ``turns`` in ``SCOPE``, and their ids."""
    store = SQLiteStore(
        ":memory:",
        encoder_name=encoder().name,
        encoder_version=encoder().version,
        dim=encoder().dim,
    )
    return store, add(store, turns)


def add(
    store: SQLiteStore, turns: Sequence[tuple[str, str, str, str]], scope: Scope = SCOPE
) -> list[int]:
    new = [
        NewTurn(
            role="user",
            speaker=speaker,
            text=text,
            lexical=lexical_text(speaker, text),
            tokens=count_tokens(text),
            vectors=encoder().encode(keys),
            token_ids=encoder().token_ids(keys),
            time=datetime.fromisoformat(day),
            session_id=session,
        )
        for session, day, speaker, text in turns
        for keys in (turn_keys(speaker, text, encoder().max_tokens).texts,)
    ]
    return store.add_turns(scope, new)


def add_unit(store: SQLiteStore, text: str, turns: Sequence[int]) -> int:
    """Store one unit that rests on ``turns``, as extraction would; its id."""
    store.add_events(SCOPE, [(list(turns), list(turns))])
    lease = store.lease_events(SCOPE, 1, 60.0)
    assert lease is not None
    (vector,) = encoder().encode([text])
    unit = NewUnit(
        text=text,
        lexical=text,
        tokens=count_tokens(text),
        vector=vector,
        time=None,
        source_turns=tuple(turns),
        token_ids=encoder().token_ids([text]),
    )
    (unit_id,) = store.complete_event(lease, lease.events[0].id, [unit])
    return unit_id
