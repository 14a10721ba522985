"""``HyMem``, the public face: one object, one store, every stage behind it."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from hymem.calls import call
from hymem.errors import InputError, NotFoundError, StoreError
from hymem.exports.jsonl import read_lines, write_lines
from hymem.inputs.checks import (
    asked_at,
    check_budget,
    check_choice,
    check_id,
    check_path,
    check_positive,
    check_query,
    check_user,
    checked_filter,
    checked_vector,
    scope_of,
    scope_or_all,
)
from hymem.inputs.messages import Messages, clean_text, parse_messages
from hymem.inputs.shapes import as_mappings
from hymem.read.query import Query
from hymem.system.clock import Clock, Time
from hymem.types import (
    LLM,
    Answer,
    Budget,
    Config,
    Context,
    Encoder,
    Extractor,
    Filter,
    Hit,
    Scope,
    Segmenter,
    Turn,
    Unit,
)
from hymem.write.resent import OnKnown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.read.chat import ChatReply, Chatter
    from hymem.stores.base import Status, Store


class HyMem:
    """Long-term memory for a chat application.

    ``path``: the SQLite file, created if absent (``":memory:"`` keeps nothing). One that cannot be
    written is opened for reading alone: what would change it raises ``StoreError``.
    ``llm``: a model's name at the OpenAI API, any object of the ``LLM`` protocol, ``None`` for no
    model at all, or ``"auto"``: OpenAI if ``OPENAI_API_KEY`` is set, else no model.
    ``encoder``, ``segmenter``, ``extractor``, ``store``: your own, by the protocols of
    ``hymem.types`` and ``hymem.stores.base``. ``prices``: dollars per million tokens,
    ``{"my-model": (input, output)}``, for models whose price is not known; ``(0, 0)`` for one that
    costs nothing.
    ``background``: extract behind ``add``; if false, only ``flush`` and ``wait=True`` extract.
    ``timezone``: where the memory's people live: an IANA name (``"Europe/Warsaw"``) or a
    ``tzinfo``; by default the zone that the system is set to. In it lie "today" and "last week",
    the days shown in blocks, times that name no zone and times in UTC. A time with an offset of its
    own keeps it, so one speaker may be elsewhere.

    All methods may be called from several threads. A scope is the exact pair (``user_id``,
    ``agent_id``); an omitted id is a value of its own, never a wildcard. What is meant for every
    scope says ``all_scopes=True``.

    Raises ``StoreError`` and its kinds when the file cannot be used, ``EncoderMismatchError`` when
    it was written with another encoder.
    """

    def __init__(
        self,
        path: str | Path = "hymem.db",
        *,
        llm: LLM | str | None = "auto",
        encoder: Encoder | None = None,
        segmenter: Segmenter | None = None,
        extractor: Extractor | None = None,
        store: Store | None = None,
        config: Config | None = None,
        prices: Mapping[str, tuple[float, float]] | None = None,
        background: bool = True,
        timezone: str | tzinfo | None = None,
    ) -> None:
        from hymem.life import Life
        from hymem.system import forks
        from hymem.wiring import assemble
        from hymem.write.worker import Worker

        check_path(path)
        self.config = Config() if config is None else config
        self._clock = Clock(timezone)
        with forks.working():
            self._parts = assemble(
                path,
                clock=self._clock,
                llm=llm,
                encoder=encoder,
                segmenter=segmenter,
                extractor=extractor,
                store=store,
                config=self.config,
                prices=prices or {},
            )
        self._store = self._parts.store
        self._warned = False
        works = background and not self._parts.read_only
        self._worker = Worker(self._parts.ingestor) if works else None
        self._life = Life(self._store, self._worker)
        # For an object that is dropped unclosed. At the interpreter's exit its life ends anyway.
        weakref.finalize(self, self._life.abandon).atexit = False
        if self._worker is not None:
            self._worker.resume()

    @property
    def encoder(self) -> Encoder:
        """The encoder in use."""
        return self._parts.encoder

    # -- writing --

    @call
    def add(
        self,
        messages: Messages,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        timestamp: Time | None = None,
        metadata: Mapping[str, Any] | None = None,
        on_known: OnKnown = "ignore",
        wait: bool = False,
    ) -> list[int]:
        """Save what was said: a string, a message or any iterable of messages (``{role, content,
        name?, timestamp?, id?, session_id?, metadata?}``, or objects with such fields: OpenAI's,
        LangChain's, your own). Of a content in parts the text is kept. The keyword arguments are
        defaults for messages without their own.

        When this returns, all turns are on disk and searchable; their ids are returned, in order.
        Units follow in the background, or before the return with ``wait=True``.

        A message whose ``id`` the scope already has is not added again, so a whole history may be
        sent each time. Where its text is one that the memory never had under this id, ``on_known``
        decides: ``"ignore"`` leaves the memory as it is and logs a warning, ``"update"`` replaces
        the text as ``update`` does, ``"error"`` saves nothing.

        Raises ``InputError`` for malformed messages and ``StoreError``; nothing is added then,
        however long the list.
        """
        scope = scope_of(user_id, agent_id)
        check_choice(on_known, "on_known", get_args(OnKnown))
        said = parse_messages(
            messages,
            session_id=session_id,
            timestamp=timestamp,
            metadata=metadata,
            clock=self._clock,
        )
        self._warn_without_ids(scope)
        ids = self._parts.ingestor.append(scope, said, on_known)
        if wait:
            self._parts.ingestor.drain([scope], self._life.is_open)
        elif ids:
            self._notify(scope)
        return ids

    @call
    def flush(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        all_scopes: bool = False,
    ) -> Status:
        """Extract and embed everything that waits in this scope (or in all), failed events once
        more included; the status afterwards. Events that fail again stay visible there, and so do
        those not tried because the model's endpoint is down.

        Raises ``InputError``, and ``StoreError`` for a scope whose data cannot be read, after the
        others were worked on."""
        scope = scope_or_all(user_id, agent_id, all_scopes)
        scopes = self._store.scopes() if scope is None else [scope]
        self._parts.ingestor.drain(scopes, self._life.is_open)
        return self._store.status(scope)

    # -- reading --

    @call
    def search(
        self,
        query: str,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        limit: int = 10,
        where: Filter | None = None,
        vector: NDArray[np.float32] | None = None,
        now: Time | None = None,
        as_of: Time | None = None,
    ) -> list[Hit]:
        """The best ``limit`` turns and units for ``query``, best first; never calls a model.

        ``vector`` (``float32[dim]``, unit length) spares the encoder when the caller has it.
        ``now`` is what "last week" counts from (default: ``as_of``, or now). ``as_of``, here or in
        ``where``: memory as it was at that moment; see ``Filter``. Raises ``InputError``.
        """
        check_query(query)
        asked = self._query(query, scope_of(user_id, agent_id), where, now, as_of, vector)
        check_positive(limit, "limit")
        return list(self._parts.retriever.retrieve(asked, limit).hits)

    @call
    def recall(
        self,
        question: str,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        max_tokens: int = 1000,
        strict: bool = False,
        adaptive: bool = False,
        where: Filter | None = None,
        deep: Literal["llm"] | None = None,
        now: Time | None = None,
        as_of: Time | None = None,
    ) -> Context:
        """A block of recalled text for the application's own prompt, at most ``max_tokens`` long.

        It can be called with whatever a person types, be it nothing: the block holds the best lines
        that memory has, and ``found`` and ``confidence`` tell whether they bear on ``question``.
        With ``strict`` it is empty where nothing is found. A larger ``max_tokens`` holds what a
        smaller one held, and is filled; with ``adaptive`` no more is sent than the gate says the
        question needs (``trace["needed"]``, in passages). Calls no model unless ``deep="llm"`` lets
        the model choose what is read. ``now`` and ``as_of`` as for ``search``. Raises
        ``InputError``.
        """
        check_query(question, blank=True)
        query = self._query(question, scope_of(user_id, agent_id), where, now, as_of)
        check_positive(max_tokens, "max_tokens")
        return self._parts.asker.recall(
            query, max_tokens=max_tokens, strict=strict, adaptive=adaptive, deep=deep
        )

    @call
    def ask(
        self,
        question: str,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        where: Filter | None = None,
        budget: Budget | None = None,
        now: Time | None = None,
        as_of: Time | None = None,
    ) -> Answer:
        """HyMem's own answer, with its evidence and cost.

        ``budget`` caps this question (default: ``config.question_budget``); when it is reached, the
        best answer so far comes back with ``budget_reached`` set. ``now`` and ``as_of`` as for
        ``search``. Raises ``InputError``,
        ``LLMError`` when the model cannot be reached, ``PriceError`` for a dollar cap on a model
        of unknown price, ``BudgetError`` when not even one call fits.
        """
        check_query(question)
        query = self._query(question, scope_of(user_id, agent_id), where, now, as_of)
        check_budget(budget)
        return self._parts.asker.ask(query, budget)

    @call
    def chat(
        self,
        messages: Messages,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        max_tokens: int = 1000,
        where: Filter | None = None,
        budget: Budget | None = None,
        now: Time | None = None,
    ) -> ChatReply:
        """Recall, let the model reply, remember both sides.

        ``messages`` is the conversation so far and ends with the user's words; at most
        ``max_tokens`` of memory join the prompt. The user's messages since the last reply and the
        reply itself are added to the memory; earlier ones are taken as added before.

        Raises ``InputError`` (also when no model is configured), ``LLMError`` (nothing is saved
        then), ``BudgetError``, ``PriceError``.
        """
        scope = scope_of(user_id, agent_id)
        check_positive(max_tokens, "max_tokens")
        check_budget(budget)
        chatter = self._chatter()
        self._warn_without_ids(scope)
        return chatter.reply(
            scope,
            as_mappings(messages),
            self._saver(scope, session_id),
            max_tokens=max_tokens,
            where=checked_filter(where, self._clock),
            budget=budget,
            now=self._clock.read_or_now(now),
        )

    @call
    def chat_stream(
        self,
        messages: Messages,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        session_id: str | None = None,
        max_tokens: int = 1000,
        where: Filter | None = None,
        budget: Budget | None = None,
        now: Time | None = None,
    ) -> Iterator[str]:
        """As ``chat``, yielding the reply in pieces as they come. A reader who leaves early is
        remembered with what was shown."""
        scope = scope_of(user_id, agent_id)
        check_positive(max_tokens, "max_tokens")
        check_budget(budget)
        chatter = self._chatter()
        self._warn_without_ids(scope)
        pieces = chatter.stream(
            scope,
            as_mappings(messages),
            self._saver(scope, session_id),
            max_tokens=max_tokens,
            where=checked_filter(where, self._clock),
            budget=budget,
            now=self._clock.read_or_now(now),
        )
        return self._life.stream(pieces)

    # -- looking after the store --

    @call
    def get(
        self, item_id: int, *, user_id: str | None = None, agent_id: str | None = None
    ) -> Turn | Unit:
        """The turn or unit with this id. Raises ``NotFoundError``."""
        check_id(item_id)
        scope = scope_of(user_id, agent_id)
        found: Sequence[Turn | Unit] = self._store.turns(scope, [item_id])
        found = found or self._store.units(scope, [item_id])
        if not found:
            raise NotFoundError(f"no memory {item_id} in this scope")
        return found[0]

    @call
    def get_all(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        where: Filter | None = None,
        limit: int | None = None,
    ) -> list[Turn | Unit]:
        """The scope's turns and units by id, oldest first; superseded units included. Raises
        ``InputError``."""
        if limit is not None:
            check_positive(limit, "limit")
        scope, where = scope_of(user_id, agent_id), checked_filter(where, self._clock)
        kind = where.kind if where else None
        found: list[Turn | Unit] = []
        if kind != "unit":
            found += self._store.list_turns(scope, where, limit=limit)
        if kind != "turn":
            found += self._store.list_units(scope, where, limit=limit)
        return sorted(found, key=lambda item: item.id)[:limit]

    @call
    def update(
        self, item_id: int, text: str, *, user_id: str | None = None, agent_id: str | None = None
    ) -> None:
        """Replace a memory's text. The old text stays in its history; a turn's event is extracted
        anew. Raises ``NotFoundError``, ``InputError``."""
        if not isinstance(text, str) or not text.strip():
            raise InputError("text must not be empty; to remove a memory, use delete")
        item = self.get(item_id, user_id=user_id, agent_id=agent_id)
        self._parts.ingestor.update(scope_of(user_id, agent_id), item, clean_text(text))
        self._notify(scope_of(user_id, agent_id))

    @call
    def delete(
        self, item_id: int, *, user_id: str | None = None, agent_id: str | None = None
    ) -> None:
        """Remove a turn or unit and its text. With a turn go the units that rest on it; what they
        owed to other turns is extracted anew from those. Raises ``NotFoundError``."""
        check_id(item_id)
        self._store.delete(scope_of(user_id, agent_id), item_id)
        self._notify(scope_of(user_id, agent_id))

    @call
    def delete_all(self, *, user_id: str | None = None, agent_id: str | None = None) -> int:
        """Remove everything of this scope, so that no byte of its text is left on disk; how many
        turns and units were removed."""
        return self._store.delete_all(scope_of(user_id, agent_id))

    @call
    def delete_user(self, user_id: str) -> int:
        """Remove every scope of this user, with whichever agent, as ``delete_all`` does; how many
        turns and units were removed. Raises ``InputError``, and ``StoreError`` where something of
        a scope is left on disk: the other scopes are removed all the same."""
        check_user(user_id)
        count, problem = 0, None
        scopes = [scope for scope in self._store.scopes() if scope.user_id == user_id]
        # Without any, deleting one all the same ends what an earlier call could not.
        for scope in scopes or [Scope(user_id)]:
            try:
                count += self._store.delete_all(scope)
            except StoreError as error:
                problem = error
        if problem is not None:
            raise problem
        return count

    @call
    def scopes(self) -> list[Scope]:
        """Every scope with something in it, or that once had, oldest first."""
        return self._store.scopes()

    @call
    def users(self) -> list[str]:
        """The ``user_id`` of every scope that has one, each once, oldest first."""
        found = (scope.user_id for scope in self._store.scopes())
        return list(dict.fromkeys(user for user in found if user is not None))

    @call
    def history(
        self, item_id: int, *, user_id: str | None = None, agent_id: str | None = None
    ) -> list[Mapping[str, Any]]:
        """How a memory changed, oldest first: ``{"event", "text", "at", "time"}``. ``at`` is when
        HyMem took it in, ``time`` when it was said, or for ``supersede`` when what replaced it was.
        Raises ``NotFoundError``."""
        check_id(item_id)
        changes = self._store.history(scope_of(user_id, agent_id), item_id)
        if not changes:
            raise NotFoundError(f"no memory {item_id} in this scope")
        return [{**change, "at": self._clock.place(change["at"])} for change in changes]

    @call
    def export(
        self,
        path: str | Path,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        all_scopes: bool = False,
    ) -> int:
        """Write turns, units and their links as JSON lines: of this scope, or of all. How many
        records. The file is for its owner alone and takes the place of an older one only when
        it is complete. Raises ``InputError`` if it cannot be written, or is a database, such as
        this one."""
        check_path(path)
        scope = scope_or_all(user_id, agent_id, all_scopes)
        return write_lines(path, self._store.dump(scope))

    @call
    def import_(self, path: str | Path) -> int:
        """Add what ``export`` wrote; how many turns and units were added. What the memory has
        already is not added again: neither messages whose ``id`` the scope has, nor what an earlier
        import of the file brought, nor what this very memory exported.

        Raises ``InputError`` naming the first bad line and its field; nothing is added then."""
        from hymem.exports.records import parse

        check_path(path)
        count = self._store.load(parse(read_lines(path), self._clock))
        self._parts.ingestor.embed_missing()
        if self._worker is not None:
            self._worker.resume()
        return count

    @call
    def backup(self, path: str | Path) -> None:
        """Write a consistent copy of the database, while it is in use, for its owner alone; an
        older copy at ``path`` is replaced when the new one is complete. Raises ``StoreError``."""
        check_path(path)
        self._store.backup(str(path))

    @call
    def compact(self) -> int:
        """Rewrite the file without the room that deleted memories left in it; how many bytes that
        gives back. Reading goes on meanwhile, writing waits, in other processes for 30 seconds at
        most; the disk needs room for two more copies. Raises ``StoreError``."""
        return self._store.compact()

    @call
    def costs(
        self,
        *,
        by: Sequence[str] = ("stage", "tier", "model"),
        user_id: str | None = None,
        agent_id: str | None = None,
        all_scopes: bool = False,
        since: Time | None = None,
    ) -> list[dict[str, Any]]:
        """What was spent, grouped ``by`` any of stage, tier, model, scope and day: of this scope,
        or of all, deleted ones included. Raises ``InputError`` for an unknown group."""
        scope = scope_or_all(user_id, agent_id, all_scopes)
        return self._parts.ledger.costs(scope, by, self._clock.read_or_none(since, "since"))

    @call
    def status(
        self,
        *,
        user_id: str | None = None,
        agent_id: str | None = None,
        all_scopes: bool = False,
    ) -> Status:
        """Counts of this scope, or of the whole store: turns, units, events by status, and what
        waits for segmentation or for the encoder. Raises ``InputError``."""
        return self._store.status(scope_or_all(user_id, agent_id, all_scopes))

    def close(self) -> None:
        """Refuse new calls, which then raise ``StoreClosedError``, wait for those under way, and
        close the file. What overstays ten seconds, as a call of a slow model may, gets that error
        when it comes back. What is not yet extracted is kept, and extracted when the store is next
        flushed or added to. Safe to call twice. Also done when the object is dropped, and at the
        interpreter's exit."""
        self._life.close()

    def __enter__(self) -> HyMem:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _query(
        self,
        text: str,
        scope: Scope,
        where: Filter | None,
        now: Time | None,
        as_of: Time | None,
        vector: NDArray[np.float32] | None = None,
    ) -> Query:
        """What is asked, checked but for its text. Raises ``InputError``."""
        where = checked_filter(where, self._clock, as_of)
        moment = asked_at(now, where, self._clock)
        return Query(scope, clean_text(text), moment, where, checked_vector(vector))

    def _chatter(self) -> Chatter:
        if self._parts.chatter is None:
            raise InputError(
                "chat needs a model: set OPENAI_API_KEY, or pass llm=OpenAIChat(model, "
                "base_url=...) for any OpenAI-compatible endpoint"
            )
        return self._parts.chatter

    def _saver(self, scope: Scope, session_id: str | None) -> Callable[[Messages], object]:
        if self._parts.read_only:  # told before a model is paid
            raise StoreError("the memory is read-only, so it cannot remember a chat; use `recall`")
        return lambda messages: self.add(
            messages, user_id=scope.user_id, agent_id=scope.agent_id, session_id=session_id
        )

    def _warn_without_ids(self, scope: Scope) -> None:
        """Once: an application that forgot the ids mixes everybody in one scope."""
        if scope == Scope() and not self._warned:
            self._warned = True
            warnings.warn(
                "neither user_id nor agent_id is given: all that is written so shares one memory. "
                "Pass user_id, a different one for each person (any fixed one, if there is but "
                "one person)",
                stacklevel=4,  # the caller, behind `call`
            )

    def _notify(self, scope: Scope) -> None:
        if self._worker is not None:
            self._worker.notify(scope)
