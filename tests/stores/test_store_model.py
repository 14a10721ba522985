"""Any sequence of operations against plain dictionaries, and against another scope's peace."""

from __future__ import annotations

import random
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filling import (
    ANA,
    BEN,
    asked,
    codes_of,
    encode,
    extract,
    found,
    open_store,
    tokens_of,
    turn,
    unit,
)
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from hymem.stores.index.maxsim import idf
from hymem.stores.sqlite import SQLiteStore
from hymem.text.words import terms
from hymem.types import Scope

_WORDS = "red green blue cat dog bird bread wine sea sun"
WORDS = st.sampled_from(_WORDS.split())
TEXTS = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)
SCOPES = st.sampled_from([ANA, Scope("ana", "bot"), Scope()])


@dataclass
class Model:
    """What a scope should hold: texts by id, and for units the turns they rest on."""

    turns: dict[int, str] = field(default_factory=dict)
    units: dict[int, str] = field(default_factory=dict)
    sources: dict[int, tuple[int, ...]] = field(default_factory=dict)
    events: dict[int, int] = field(default_factory=dict)  # unit -> event
    by_source: dict[str, int] = field(default_factory=dict)

    def forget_units(self, gone: set[int]) -> None:
        for item_id in gone:
            del self.units[item_id], self.sources[item_id], self.events[item_id]

    def forget_event(self, event: int) -> None:
        self.forget_units({one for one, own in self.events.items() if own == event})


def late_matches(question: str, texts: dict[int, str], turns: set[int]) -> dict[int, float]:
    """MaxSim of each text, from nothing but the texts."""
    held = {item_id: tokens_of(text) for item_id, text in texts.items()}
    corpus = [ids for item_id, ids in held.items() if item_id in turns and len(ids)]
    wanted = tokens_of(question)
    weights = idf(np.array([sum(token in ids for ids in corpus) for token in wanted]), len(corpus))
    matches: dict[int, float] = {}
    for item_id, ids in held.items():
        best = (codes_of(wanted) @ codes_of(ids).T).max(axis=1, initial=0.0)
        matches[item_id] = float(weights @ best / weights.sum())
    return matches


class StoreMachine(RuleBasedStateMachine):
    """Two connections to one file, as two processes would have."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "chat.db"
        self.stores = [open_store(path), open_store(path)]
        self.turn = 0
        self.models: dict[Scope, Model] = {}
        self.ben = self.stores[0].add_turns(BEN, [turn("red cat"), turn("blue sea", "s2")])
        extract(self.stores[0], BEN, self.ben, [unit("ben has a cat", self.ben)])
        self.peace = self.seen_by_ben()

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    def seen_by_ben(self) -> tuple[object, ...]:
        got = self.stores[0].candidates(BEN, encode("red cat sea"), "red cat sea", 9, radius=2)
        columns = (got.ids, got.dense, got.lexical, got.position, got.event, got.tokens)
        rest = self.stores[0].list_turns(BEN), self.stores[0].list_units(BEN)
        return (*(column.tolist() for column in columns), got.lexical_max, got.turns_total, *rest)

    @property
    def store(self) -> SQLiteStore:
        """One of the two, by turns."""
        self.turn += 1
        return self.stores[self.turn % 2]

    def model(self, scope: Scope) -> Model:
        return self.models.setdefault(scope, Model())

    @rule(scope=SCOPES, texts=st.lists(TEXTS, max_size=4), source=st.sampled_from(["", "a", "b"]))
    def add(self, scope: Scope, texts: list[str], source: str) -> None:
        model = self.model(scope)
        known = model.by_source.get(source)
        new = [turn(text, keys=1 + len(text) % 2) for text in texts]
        if source:
            new.append(turn("bread " + source, source_id=source))
        ids = self.store.add_turns(scope, new)
        assert len(set(ids)) == len(new)
        model.turns.update(zip(ids, texts, strict=False))
        if source and known is None:
            model.turns[ids[-1]] = "bread " + source
            model.by_source[source] = ids[-1]
        elif source:
            assert ids[-1] == known

    @rule(scope=SCOPES, texts=st.lists(TEXTS, max_size=3), pick=st.randoms(use_true_random=False))
    def extract(self, scope: Scope, texts: list[str], pick: random.Random) -> None:
        model, store = self.model(scope), self.store
        waiting = [one.id for one in store.unsegmented(scope, 5)]
        if not waiting:
            return
        sources = [tuple(sorted(pick.sample(waiting, 1 + len(waiting) // 2))) for _ in texts]
        store.add_events(scope, [(waiting, waiting)])
        while lease := store.lease_events(scope, 1, 60.0):
            (event,) = lease.events
            if event.turns != tuple(waiting):  # reopened by an edit; nothing to say about it
                store.complete_event(lease, event.id, [])
                continue
            new = [unit(text, own) for text, own in zip(texts, sources, strict=True)]
            for text, own, item_id in zip(
                texts, sources, store.complete_event(lease, event.id, new), strict=True
            ):
                model.units[item_id], model.sources[item_id] = text, own
                model.events[item_id] = event.id

    @precondition(lambda self: any(model.turns for model in self.models.values()))
    @rule(data=st.data(), text=TEXTS)
    def update(self, data: st.DataObject, text: str) -> None:
        scope, item_id = self.pick(data)
        model, store = self.model(scope), self.store
        events = [event.id for event in store.events(scope) if item_id in event.turns]
        keys = encode(text)[None], [tokens_of(text)]
        store.update_text(scope, item_id, text, text, 1, *keys)
        if item_id in model.turns:
            model.turns[item_id] = text
            for event in events:
                model.forget_event(event)
        else:
            model.units[item_id] = text

    @precondition(lambda self: any(model.turns for model in self.models.values()))
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        scope, item_id = self.pick(data)
        model = self.model(scope)
        self.store.delete(scope, item_id)
        if item_id in model.units:
            model.forget_units({item_id})
            return
        del model.turns[item_id]
        model.by_source = {key: own for key, own in model.by_source.items() if own != item_id}
        resting = {one: own for one, own in model.sources.items() if item_id in own}
        shared = {model.events[one] for one, own in resting.items() if len(own) > 1}
        model.forget_units(set(resting))
        for event in shared:
            model.forget_event(event)

    @rule(scope=SCOPES)
    def delete_all(self, scope: Scope) -> None:
        model = self.models.pop(scope, Model())
        assert self.store.delete_all(scope) == len(model.turns) + len(model.units)

    def pick(self, data: st.DataObject) -> tuple[Scope, int]:
        return data.draw(
            st.sampled_from(
                [
                    (scope, item_id)
                    for scope, model in self.models.items()
                    for item_id in (*model.turns, *model.units)
                ]
            )
        )

    @invariant()
    def every_scope_holds_what_its_model_holds(self) -> None:
        for scope, model in getattr(self, "models", {}).items():
            store = self.store
            assert {one.id: one.text for one in store.list_turns(scope)} == model.turns
            units = store.list_units(scope)
            assert {one.id: one.text for one in units} == model.units
            assert {one.id: one.source_turns for one in units} == model.sources

    @invariant()
    def a_search_finds_exactly_what_holds_a_word(self) -> None:
        for scope, model in getattr(self, "models", {}).items():
            store, texts = self.store, {**model.turns, **model.units}
            wanted = set(terms("red cat wine"))
            holding = {item_id for item_id, text in texts.items() if wanted & set(terms(text))}
            behind = {turn for item_id in holding for turn in model.sources.get(item_id, ())}
            assert set(found(store, scope, "red cat wine", limit=500)) == holding | behind
            dense = store.candidates(scope, encode("red cat"), "", 500, tokens=asked("red cat"))
            assert set(dense.ids.tolist()) == set(texts)
            assert dense.turns_total == len(model.turns)
            late = late_matches("red cat", texts, set(model.turns))
            np.testing.assert_allclose(dense.late, [late[one] for one in dense.ids], atol=1e-5)

    @invariant()
    def another_scope_is_left_in_peace(self) -> None:
        if hasattr(self, "peace"):
            assert self.seen_by_ben() == self.peace


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
