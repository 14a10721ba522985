"""From Python values to table rows and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeVar, overload

from hymem.errors import InputError
from hymem.inputs.messages import clean_text
from hymem.stores.damage import check_types, damaged
from hymem.system.clock import Time
from hymem.text.words import terms
from hymem.types import Event, Passage, Turn, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import NewPassage

T = TypeVar("T")

# Well below SQLite's limit of 32,766 parameters in one statement.
PARAMETERS = 500

TURN_COLUMNS = (
    "i.id, i.role, p.name, i.text, i.time, s.name, i.position, i.source_id, i.metadata, i.tokens,"
    " i.spans"
)
UNIT_COLUMNS = "i.id, i.text, i.time, i.event, s.name, i.superseded_by, i.duplicate_of, i.metadata"
FROM_ITEMS = (
    "FROM items i JOIN sessions s ON s.id = i.session LEFT JOIN speakers p ON p.id = i.speaker"
)


def is_id(value: int) -> bool:
    """Whether SQLite could have given this id."""
    return 0 < value < 1 << 63


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Pieces that fit into one statement's parameters."""
    for start in range(0, len(values), PARAMETERS):
        yield values[start : start + PARAMETERS]


def marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))


def seconds_of(time: Time | None) -> float | None:
    """Seconds since 1970; a naive time is taken as UTC. The other forms of a time are ``HyMem``'s
    to read: ``InputError``."""
    if time is None:
        return None
    if not isinstance(time, datetime):
        raise InputError(f"a store takes a datetime, not {time!r}")
    return (time.replace(tzinfo=UTC) if time.tzinfo is None else time).timestamp()


def time_to_text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def time_from_text(text: str | None, where: str = "a memory") -> datetime | None:
    """Raises ``StoreError``; ``where`` says whose time it is."""
    try:
        return None if text is None else datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise damaged(where, "time") from None


def time_from_seconds(seconds: float, where: str) -> datetime:
    """Raises ``StoreError``; ``where`` says whose time it is."""
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise damaged(where, "time") from None


def metadata_to_text(metadata: Mapping[str, Any]) -> str:
    # ASCII escapes keep lone surrogates, which SQLite's UTF-8 could not hold.
    return json.dumps(dict(metadata)) if metadata else ""


def metadata_from_text(text: str, where: str = "a memory") -> dict[str, Any]:
    """Raises ``StoreError``; ``where`` says whose metadata it is."""
    try:
        found = json.loads(text) if text else {}
    except (TypeError, ValueError, RecursionError):
        raise damaged(where, "metadata") from None
    if not isinstance(found, dict):
        raise damaged(where, "metadata")
    return found


def clean(text: str | None) -> str | None:
    return None if text is None else clean_text(text)


def keys_to_blob(vectors: NDArray[np.float32]) -> bytes:
    """Half precision: an error below 0.001 in the cosine of unit vectors, half the bytes."""
    import numpy as np

    return np.ascontiguousarray(vectors, np.float16).tobytes()


def keys_from_blob(blob: bytes | None, dim: int) -> NDArray[np.float32]:
    """``float32[keys, dim]``; no keys for an item that is not embedded yet."""
    import numpy as np

    return np.frombuffer(blob or b"", np.float16).reshape(-1, dim).astype(np.float32)


def ids_to_blob(token_ids: Sequence[NDArray[np.uint16]]) -> bytes:
    """The tokens of each key one after the other; of several keys, first how many each has."""
    import numpy as np

    counts = [len(ids) for ids in token_ids] if len(token_ids) != 1 else []
    return np.concatenate([np.array(counts, np.uint16), *token_ids]).astype("<u2").tobytes()


def ids_from_blob(blob: bytes | None, keys: int) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """(how many tokens each of the ``keys`` has, all tokens); none where the ids are not known."""
    import numpy as np

    held = np.frombuffer(blob or b"", "<u2")
    if keys == 1:
        return np.array([len(held)], np.uint16), held
    if not len(held):
        return np.zeros(keys, np.uint16), held
    return held[:keys], held[keys:]


class Passages(Sequence[Passage]):
    """The passages in the column ``spans``, made when asked for: a long text has thousands. Per
    passage it holds, as ``int32``, begin, end, number of tokens and number of terms."""

    def __init__(self, spans: bytes) -> None:
        self._spans = spans

    def __len__(self) -> int:
        return len(self._spans) // _SPAN.size

    @overload
    def __getitem__(self, number: int) -> Passage: ...
    @overload
    def __getitem__(self, number: slice) -> tuple[Passage, ...]: ...
    def __getitem__(self, number: int | slice) -> Passage | tuple[Passage, ...]:
        if isinstance(number, slice):
            return tuple(self[one] for one in range(*number.indices(len(self))))
        start, end, tokens, _ = _SPAN.unpack_from(
            self._spans, range(len(self))[number] * _SPAN.size
        )
        return Passage(start, end, tokens)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Passages) and self._spans == other._spans

    def __hash__(self) -> int:
        return hash(self._spans)


_SPAN = Struct("<4i")


def passages_to_blobs(lexical: str, passages: Sequence[NewPassage]) -> tuple[bytes, bytes | None]:
    """The columns ``terms`` and ``spans`` of an item: the hashes of its terms, passage by passage
    if it has several."""
    if not passages:
        return terms_blob(lexical), None
    terms_of = [terms_blob(one.lexical) for one in passages]
    spans = [
        _SPAN.pack(one.start, one.end, one.tokens, len(words) // 4)
        for one, words in zip(passages, terms_of, strict=True)
    ]
    return b"".join(terms_of), b"".join(spans)


def terms_blob(lexical: str) -> bytes:
    from hymem.stores.index.lexical import hash_terms

    return hash_terms(terms(lexical)).tobytes()


def counts_from_blob(spans: bytes) -> tuple[list[int], list[int]]:
    """How many tokens and how many terms each passage has, from the column ``spans``."""
    *_, tokens, terms = zip(*_SPAN.iter_unpack(spans), strict=True)
    return [*tokens], [*terms]


def turn_from_row(row: Sequence[Any]) -> Turn:
    check_types("turn", row)
    item_id, role, speaker, text, time, session, position, source_id, metadata, tokens, spans = row
    where = f"turn {item_id}"
    return Turn(
        id=item_id,
        role=role,
        speaker=speaker,
        text=text,
        time=time_from_text(time, where),
        session_id=session,
        position=position,
        source_id=source_id,
        metadata=metadata_from_text(metadata, where),
        tokens=tokens,
        passages=Passages(spans) if spans else (),
    )


def unit_from_row(connection: sqlite3.Connection, row: Sequence[Any]) -> Unit:
    check_types("unit", row)
    item_id, text, time, event, session, superseded_by, duplicate_of, metadata = row
    where = f"unit {item_id}"
    return Unit(
        id=item_id,
        text=text,
        time=time_from_text(time, where),
        event_id=event,
        source_turns=sources_of(connection, item_id),
        session_id=session,
        superseded_by=superseded_by,
        duplicate_of=duplicate_of,
        metadata=_agreed([metadata_from_text(metadata, where), *inherited(connection, item_id)]),
    )


def units_from_rows(connection: sqlite3.Connection, rows: Iterable[Sequence[Any]]) -> list[Unit]:
    return [unit_from_row(connection, row) for row in rows]


def inherited(connection: sqlite3.Connection, unit: int) -> list[dict[str, Any]]:
    """The metadata of the turns that a unit rests on, where they have any."""
    rows = connection.execute(
        "SELECT turn, metadata FROM sources JOIN items ON id = turn"
        " WHERE unit = ? AND metadata <> '' ORDER BY turn",
        (unit,),
    )
    return [metadata_from_text(text, f"turn {turn}") for turn, text in rows]


def _agreed(held: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """All pairs of ``held`` but those on which they differ."""
    merged: dict[str, Any] = {}
    for one in held:
        merged |= one
    return {
        key: value
        for key, value in merged.items()
        if all(key not in one or one[key] == value for one in held)
    }


def sources_of(connection: sqlite3.Connection, unit: int) -> tuple[int, ...]:
    found = connection.execute("SELECT turn FROM sources WHERE unit = ? ORDER BY turn", (unit,))
    turns = tuple(turn for (turn,) in found)
    if not all(isinstance(turn, int) for turn in turns):
        raise damaged(f"unit {unit}", "source")
    return turns


def event_from_row(connection: sqlite3.Connection, row: Sequence[Any]) -> Event:
    """``row``: id, session name, time, status, attempts, error."""
    check_types("event", row)
    event_id, session, time, status, attempts, error = row
    turns = connection.execute(
        "SELECT t.turn, i.event FROM event_turns t JOIN items i ON i.id = t.turn"
        " WHERE t.event = ? ORDER BY t.turn",
        (event_id,),
    ).fetchall()
    return Event(
        id=event_id,
        session_id=session,
        turns=tuple(turn for turn, _ in turns),
        overlap=frozenset(turn for turn, home in turns if home != event_id),
        time=time_from_text(time, f"event {event_id}"),
        status=status,
        attempts=attempts,
        error=error,
    )
