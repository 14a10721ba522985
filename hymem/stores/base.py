"""The store's interface: everything the stages need, and no SQL, FAISS or file path in it.

The store is the truth and owns durability, ids, scopes and the two ranked matches (dense and
lexical). What the scores mean, and how they are fused, is the business of ``hymem.read.retrieve``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from hymem.types import Event, Filter, Kind, Scope, Turn, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.exported import Imported

    TokenIds = Sequence[NDArray[np.uint16]]


@dataclass(frozen=True, slots=True)
class NewPassage:
    """A part of a turn's text with a key of its own; ``lexical`` is what lexical search indexes of
    it. The rest as in ``hymem.types.Passage``."""

    start: int
    end: int
    tokens: int
    lexical: str


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A turn to append. ``lexical`` is the text that lexical search indexes (speaker and text);
    ``vectors`` is ``float32[keys, dim]``, one unit row per key, or ``None`` when the encoder could
    not be reached: the turn is stored all the same and embedded later. ``token_ids`` are the tokens
    of each key, if the encoder has token codes. ``passages``: what a long text was cut into, one
    key each, in order; empty where the whole text is one."""

    role: str
    speaker: str
    text: str
    lexical: str
    tokens: int
    vectors: NDArray[np.float32] | None
    time: datetime | None = None
    session_id: str = ""
    source_id: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    recalled: bool = False
    token_ids: TokenIds | None = None
    passages: Sequence[NewPassage] = ()


@dataclass(frozen=True, slots=True)
class NewUnit:
    """A unit to store. ``vector`` is ``float32[dim]``, or ``None`` as for a turn, and ``token_ids``
    are of this one key. ``supersedes``, ``superseded_by`` and ``duplicate_of`` name existing units
    of the scope, ``corrects`` one by its place among the units stored with this one. ``fact`` is
    the key of a fact that can change ("ana/home city"); the current units of a key are found with
    ``Store.current_facts``."""

    text: str
    lexical: str
    tokens: int
    vector: NDArray[np.float32] | None
    time: datetime | None
    source_turns: tuple[int, ...]
    supersedes: tuple[int, ...] = ()
    superseded_by: int | None = None
    fact: str | None = None
    duplicate_of: int | None = None
    corrects: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    token_ids: TokenIds | None = None


@dataclass(frozen=True, slots=True)
class AskedTokens:
    """A question as late interaction sees it: its tokens, ``uint16[q]``, how much each says by
    itself, ``float32[q]``, and the encoder's ``token_codes`` (``hymem.types.TokenCoder``),
    ``uint16[n]`` to ``float32[n, d]``."""

    ids: NDArray[np.uint16]
    weights: NDArray[np.float32]
    codes: Callable[[NDArray[np.uint16]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Candidates:
    """What a scope holds that may match a query: one row per turn or unit, columns aligned.

    Rows are the union of the best ``limit`` by dense match and the best ``limit`` by lexical match,
    plus the turns within ``radius`` positions, in the same session, of a matching turn or of a turn
    that a matching unit rests on; all of them by ascending id, each once. ``dense`` and ``lexical``
    are filled for every row, whichever match found it.

    ``late`` and ``late_window`` are MaxSim (``hymem.stores.index.maxsim``): the best cosine of each
    of the question's tokens to any token of the text, averaged by the tokens' weights and their idf
    over the scope's turns; 0 where the question came without tokens or the row has none. Of an item
    with several keys the best key counts. A window is the item and the turns before and after it
    (of a unit: those around its first source turn), as far as they are in its session and the
    filter lets them through.

    ``sample`` tells the turns that lie evenly in the scope, found or not: they stand for it, so
    that a match can be compared with what chance brings.
    """

    ids: NDArray[np.int64]  # [n] item ids
    is_unit: NDArray[np.bool_]  # [n]
    dense: NDArray[np.float32]  # [n] best cosine over the item's keys, -1..1
    lexical: NDArray[np.float32]  # [n] BM25 with this scope's statistics, 0 without a common term
    late: NDArray[np.float32]  # [n] MaxSim of the item, 0..1
    late_window: NDArray[np.float32]  # [n] MaxSim of the item with its neighbours, >= late
    time: NDArray[np.float64]  # [n] seconds since 1970 UTC, nan if unknown
    position: NDArray[np.int64]  # [n] a turn's position; of a unit, that of its first source turn
    session: NDArray[np.int64]  # [n] session number within the scope
    event: NDArray[np.int64]  # [n] event id, -1 before segmentation
    tokens: NDArray[np.int64]  # [n] length of the text in tokens
    passage_tokens: NDArray[np.int64]  # [n] of its best passage; of a text of one, as ``tokens``
    speaker: NDArray[np.int32]  # [n] index into ``speakers``, -1 for a unit
    speakers: Sequence[str]  # names of the scope's speakers
    sources: Sequence[tuple[int, ...]]  # [n] source turn ids (a turn's own id for a turn)
    # [n] of an item with several passages those that match best, best first, numbered within it
    passages: Sequence[tuple[int, ...]]
    # BM25 of a text that held every query term once at mean length, unknown terms included.
    lexical_max: float
    turns_total: int  # turns in the scope
    sample: NDArray[np.bool_]  # [n]


@dataclass(frozen=True, slots=True)
class Status:
    """Counts of a scope (or of the whole store). ``unembedded`` turns and units await the encoder.

    Of the failed events, ``given_up`` are tried again by ``flush`` alone, the others by themselves
    from ``next_try`` on; ``last_error`` is why the newest of them failed.
    """

    turns: int
    units: int
    events: Mapping[str, int]
    unsegmented: int
    unembedded: int
    sessions: int
    scopes: int
    given_up: int = 0
    next_try: datetime | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """Events a worker may extract until ``expires``, by ``time.monotonic``; ``token`` proves it."""

    token: str
    scope: Scope
    events: tuple[Event, ...]
    expires: float


class Store(Protocol):
    """Durable memory: what the stages call, and what any backend owes them.

    *Transactions.* Each method is one short transaction, safe to call from several threads and
    processes: nothing is held while a model is asked. What has returned is durable, what has raised
    left everything as it was.

    *Order.* The ids of items (turns and units together) and of events are positive, grow as they
    are added and never come again. A scope's turns have positions from 0 on, in the order they were
    added. Lists are by id; what is asked for by ids comes in that order, and ids that the scope
    does not have are left out.

    *Idempotence.* The same call again adds nothing: a ``source_id`` is one turn, a turn is newly
    covered by one event, an event is completed once, an item takes its vectors once, and an export
    is loaded once.

    *Isolation.* A scope is the exact pair, ``None`` a value of its own. No call reads, counts or
    changes what another scope holds; ids of another are as those that nobody has.

    *Leases.* At most one holder has an event. Who died loses it when its time is over; who lost it
    can neither complete, fail nor renew it.

    *Erasure.* After ``delete`` and ``delete_all`` no method gives the text back, and no file of the
    backend holds a byte of it, as soon as readers of an older state are done.

    *Filters.* ``hymem.types.Filter`` lets the same items through wherever it is taken, with aware
    times. ``as_of`` shows a scope as it was known at that moment (superseded units are current
    again).

    *Transfer.* ``load`` of what ``dump`` gave makes the same memory in another store, whatever its
    backend, but for ids and vectors.

    All raise ``StoreError`` when the storage fails; ``EncoderMismatchError`` once another process
    has re-embedded the store; ``EncoderError`` when vectors are passed that are not ``[keys, dim]``
    of finite numbers. A backend that can be opened for reading alone has an attribute
    ``read_only``.
    """

    # -- turns --
    def add_turns(
        self, scope: Scope, turns: Sequence[NewTurn], *, new: Collection[str] = ()
    ) -> list[int]:
        """Append in order, in one durable transaction; the ids. A turn whose ``source_id`` the
        scope already has is not added again: its existing id is returned in its place. Raises
        ``SaidMeanwhileError``, and adds nothing, if it is one of ``new``."""
        ...

    def said_before(
        self, scope: Scope, source_ids: Sequence[str]
    ) -> dict[str, tuple[Turn, list[str]]]:
        """Of these ids of the application's, those that the scope has: each with its turn, and
        every text that this has or had."""
        ...

    def turns(self, scope: Scope, ids: Sequence[int]) -> list[Turn]:
        """These turns, in the order asked for; ids that the scope does not have are left out."""
        ...

    def units(self, scope: Scope, ids: Sequence[int]) -> list[Unit]:
        """These units, in the order asked for; ids that the scope does not have are left out."""
        ...

    def list_turns(
        self,
        scope: Scope,
        where: Filter | None = None,
        *,
        limit: int | None = None,
        after_id: int = 0,
    ) -> list[Turn]:
        """By id, the first ``limit`` turns (``None``: all) beyond ``after_id`` that ``where`` lets
        through."""
        ...

    def list_units(
        self,
        scope: Scope,
        where: Filter | None = None,
        *,
        limit: int | None = None,
        after_id: int = 0,
    ) -> list[Unit]:
        """As ``list_turns``; superseded and duplicate units too."""
        ...

    def window(
        self,
        scope: Scope,
        positions: Sequence[int],
        radius: int,
        *,
        where: Filter | None = None,
    ) -> list[Turn]:
        """The turns within ``radius`` of these positions, same session only, by position; those
        that ``where`` lets through."""
        ...

    def older_texts(self, scope: Scope, ids: Sequence[int], as_of: datetime) -> Mapping[int, str]:
        """Of those of these items that were updated after ``as_of``, the texts they had then."""
        ...

    # -- matching --
    def candidates(
        self,
        scope: Scope,
        vector: NDArray[np.float32] | None,
        query: str,
        limit: int,
        *,
        radius: int = 0,
        where: Filter | None = None,
        kinds: Sequence[Kind] = ("turn", "unit"),
        tokens: AskedTokens | None = None,
        sample: int = 0,
    ) -> Candidates:
        """Dense match on ``vector`` (``float32[dim]``; ``None`` switches it off) and BM25 match on
        ``query`` (empty switches it off). Superseded and duplicate units are left out. With
        ``tokens``, what was found is scored by MaxSim too. ``sample``: up to so many turns that lie
        evenly in the scope are among the rows besides."""
        ...

    def nearest_units(
        self, scope: Scope, vectors: NDArray[np.float32], limit: int
    ) -> list[list[tuple[int, float]]]:
        """For each row of ``vectors`` (``float32[n, dim]``), the ids of up to ``limit`` nearest
        current units and their cosines."""
        ...

    # -- write path: segmentation and extraction --
    def unsegmented(self, scope: Scope, limit: int) -> list[Turn]:
        """The oldest turns that belong to no event yet, by position (several sessions mixed)."""
        ...

    def vectors(self, scope: Scope, ids: Sequence[int]) -> NDArray[np.float32]:
        """Mean of each item's key vectors, ``float32[len(ids), dim]``; zeros if not embedded."""
        ...

    def add_events(
        self, scope: Scope, events: Sequence[tuple[Sequence[int], Sequence[int]]]
    ) -> None:
        """Store events as pairs (all turn ids, the turn ids that this event newly covers: without
        the overlap). Turns already covered by another process's event are skipped."""
        ...

    def lease_events(self, scope: Scope | None, limit: int, seconds: float) -> Lease | None:
        """Take up to ``limit`` events of one scope that are pending, whose lease has expired, or
        that failed and are due again; ``None`` if there are none. A lease, of 60 ``seconds`` at
        most, that is not completed in time may be taken by anyone. What was tried before comes last
        and alone, so that it can spoil no other."""
        ...

    def renew(self, lease: Lease, seconds: float) -> None:
        """Keep what is left of a lease for ``seconds`` from now."""
        ...

    def complete_event(self, lease: Lease, event_id: int, units: Sequence[NewUnit]) -> list[int]:
        """Store an event's units and mark it done, in one transaction. Does nothing and returns []
        when the lease was lost, so that no unit is doubled."""
        ...

    def current_facts(
        self, scope: Scope, facts: Sequence[str], *, where: Filter | None = None
    ) -> dict[str, list[Unit]]:
        """For each fact key, its units that are neither superseded nor duplicates (at
        ``where.as_of``: that were not then) and that ``where`` lets through, oldest first. Keys
        without such units are absent."""
        ...

    def fail_event(
        self, lease: Lease, event_id: int, error: str, retry_in: float | None = None
    ) -> None:
        """Give the event back as ``failed`` with one attempt more. It may be leased again after
        ``retry_in`` seconds; if that is ``None``, only after ``retry_failed``."""
        ...

    def give_back(self, lease: Lease) -> None:
        """Give back, as ``pending``, what of a lease is neither completed nor failed."""
        ...

    def leased(self, scope: Scope) -> bool:
        """Whether some of the scope's events are leased."""
        ...

    def due(self) -> list[Scope]:
        """The scopes with failed events that may be leased again."""
        ...

    def next_try(self) -> float | None:
        """When the first failed event may be leased again, in seconds since 1970."""
        ...

    def failed(self, scope: Scope) -> list[int]:
        """Ids of the scope's failed events."""
        ...

    def retry_failed(self, scope: Scope, ids: Sequence[int]) -> None:
        """Make these events pending, if they are failed."""
        ...

    def unfinished(self) -> list[Scope]:
        """The scopes with turns to segment or events to extract (leased ones included, failed ones
        not)."""
        ...

    def without_vectors(self) -> list[Scope]:
        """The scopes that have items without vectors."""
        ...

    def unembedded(self, scope: Scope, limit: int, *, after_id: int = 0) -> list[Turn | Unit]:
        """The first items without vectors, by id."""
        ...

    def set_vectors(
        self,
        scope: Scope,
        keys: Sequence[
            tuple[Turn | Unit, NDArray[np.float32], TokenIds | None, Sequence[NewPassage]]
        ],
    ) -> None:
        """(item, and as for a ``NewTurn`` its vectors, token ids and passages), in one transaction.
        Items that are gone, or have vectors or another text by now, are left as they are."""
        ...

    # -- token ids that an older version of the store did not keep --
    def uncoded(self, limit: int) -> list[Turn | Unit]:
        """The next items, the newest first, with vectors and without token ids; empty when all are
        filled in, and always in a backend that kept them from the start."""
        ...

    def put_token_ids(self, ids: Sequence[tuple[int, TokenIds]]) -> None:
        """Fill in what ``uncoded`` gave: (item id, tokens of each key) pairs."""
        ...

    # -- changing and removing --
    def update_text(
        self,
        scope: Scope,
        item_id: int,
        text: str,
        lexical: str,
        tokens: int,
        vectors: NDArray[np.float32] | None,
        token_ids: TokenIds | None = None,
        passages: Sequence[NewPassage] = (),
    ) -> None:
        """Replace an item's text; the old text stays in its history. Without ``vectors`` it waits
        for them (``unembedded``). An updated turn's event is reopened for extraction. Raises
        ``NotFoundError``."""
        ...

    def delete(self, scope: Scope, item_id: int) -> None:
        """Remove an item and its text. With a turn go the units that rest on it alone; where a unit
        also rests on other turns, its event is reopened, and all units of that event go, since they
        will be extracted again. ``NotFoundError``."""
        ...

    def delete_all(self, scope: Scope) -> int:
        """Remove everything of the scope, so that no byte of its text is left in any file; how many
        turns and units there were. Its costs stay in the ledger, without its name."""
        ...

    def history(self, scope: Scope, item_id: int) -> list[Mapping[str, Any]]:
        """Oldest first: ``{"event": "add|update|supersede|delete", "text", "at", "time"}``: ``at``
        is when the memory took it in, ``time`` since when it holds in the conversation: when it was
        said, or for ``supersede`` when the newer unit was (``None`` if unknown). Of a deleted
        item only the times are left: its texts are ``None``. Empty if there never was one."""
        ...

    # -- costs --
    def add_costs(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Each row: ``stage``, and as far as known ``scope, at, tier, model, input_tokens,
        output_tokens, cached_tokens, usd, seconds, estimated``."""
        ...

    def costs(self, scope: Scope | None, since: datetime | None = None) -> list[Mapping[str, Any]]:
        """The rows summed by scope, ``day`` (UTC, ISO), stage, tier and model, with ``calls``;
        those of unknown price apart, with ``usd`` ``None``. ``scope=None``: of all."""
        ...

    # -- the whole store --
    def scopes(self) -> list[Scope]:
        """Those that there are, the oldest first."""
        ...

    def status(self, scope: Scope | None = None) -> Status:
        """Counts; ``None``: of the whole store."""
        ...

    # -- another encoder: open the store for re-embedding, then put until ``finish`` is true --
    def to_reembed(self, limit: int) -> list[tuple[Scope, Turn | Unit]]:
        """The next items without vectors of the encoder that the store was opened with; empty when
        all have them. An interrupted run goes on where it stopped."""
        ...

    def put_reembedded(
        self, keys: Sequence[tuple[int, NDArray[np.float32], TokenIds | None]]
    ) -> None:
        """(item id, ``float32[keys, dim]``, their tokens); they enter service with
        ``finish_reembed``."""
        ...

    def finish_reembed(self) -> bool:
        """Replace all vectors at once. False if items were added meanwhile: go on and ask again.
        From then on, processes with the old encoder get ``EncoderMismatchError``."""
        ...

    def dump(self, scope: Scope | None = None) -> Iterator[Mapping[str, Any]]:
        """Records of a JSONL export: turns, events, units, history; never vectors."""
        ...

    def load(self, parts: Sequence[Imported]) -> int:
        """Add what an export holds, with new ids, in one transaction; how many turns and units were
        new. What the store has already is not added again: turns with the same ``source_id`` (those
        without, added at the same moment in the same session by the same speaker), and the events
        and units of such turns. What is added waits for its vectors (``unembedded``)."""
        ...

    def compact(self) -> int:
        """Give the room of what was deleted back to the disk; how many bytes. Nobody else can write
        meanwhile."""
        ...

    def backup(self, path: str) -> None:
        """A consistent copy of the live store at ``path``."""
        ...

    def close(self) -> None:
        """Let nobody in any more. Calls may be under way in other threads: they end well, or with
        ``StoreClosedError``. Safe to call twice."""
        ...
