"""What a store says of itself: which file it is, and which encoder made its vectors."""

from __future__ import annotations

import secrets
import sqlite3
from dataclasses import dataclass
from shlex import quote

from hymem.encoders.named import option_for
from hymem.errors import EncoderMismatchError
from hymem.stores.damage import damaged


@dataclass(frozen=True, slots=True)
class OwnEncoder:
    """The encoder that a store is opened with. ``plain``: its name, version and dimension;
    ``name``: with the vocabulary of its token ids, if there are any."""

    plain: str
    name: str
    path: str  # of the store
    read_only: bool  # the store


def own_encoder(named: tuple[str, str, int, str], path: str, *, read_only: bool) -> OwnEncoder:
    """``named``: name, version, dimension and vocabulary."""
    name, version, dim, vocabulary = named
    plain = f"{name} {version} {dim}"
    return OwnEncoder(plain, f"{plain} {vocabulary}".rstrip(), path, read_only)


def value_of(connection: sqlite3.Connection, key: str) -> str:
    """Raises ``StoreError``."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    if row is None or not isinstance(row[0], str):
        raise damaged("the database", key)
    return row[0]


def name_file(connection: sqlite3.Connection) -> None:
    """Give a new file a name of its own, by which the indexes saved beside it know it."""
    connection.execute("INSERT OR IGNORE INTO meta VALUES ('lineage', ?)", (secrets.token_hex(8),))


def adopt_encoder(connection: sqlite3.Connection, own: OwnEncoder) -> None:
    """A store without vectors takes the encoder it is opened with. One of this very encoder that
    kept no token ids so far will keep them: those of the items up to ``uncoded`` are to be filled
    in."""
    if not _has_vectors(connection):
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('encoder', ?)", (own.name,))
    taken = connection.execute(
        "UPDATE meta SET value = ? WHERE key = 'encoder' AND value = ? AND value <> ?",
        (own.name, own.plain, own.name),
    )
    if taken.rowcount:
        connection.execute(
            "INSERT OR REPLACE INTO meta SELECT 'uncoded', ifnull(max(id), 0) FROM items"
        )


def check_encoder(connection: sqlite3.Connection, own: OwnEncoder) -> None:
    """Raises ``EncoderMismatchError`` if the vectors are another encoder's."""
    fitting = {own.name}
    if own.read_only:  # what would be adopted if it could be written
        if not _has_vectors(connection):
            return
        fitting.add(own.plain)
    found = value_of(connection, "encoder")
    if found not in fitting:
        raise EncoderMismatchError(_mismatch(own.path, found, own.name))


def _has_vectors(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM vectors LIMIT 1").fetchone() is not None


def _mismatch(path: str, found: str, own: str) -> str:
    """What works: the encoder that made the vectors, or vectors made anew by the one at hand."""
    theirs, ours = (option_for(name.split(" ")[0]) for name in (found, own))
    use = f" (--encoder {theirs} on the command line)" if theirs else ""
    command = f", or `hymem reembed --db {quote(path)} --encoder {ours}`" if ours else ""
    return (
        f"the vectors in {path} come from the encoder '{found}', not from '{own}' (name, version, "
        f"dimension, vocabulary). Open it with that encoder{use}, or encode every text anew with "
        f"yours: hymem.reembed({path!r}, encoder){command}"
    )
