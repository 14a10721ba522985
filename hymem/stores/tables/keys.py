"""What an encoder made of an item: vectors, token ids, and the passages they are of."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hymem.errors import EncoderError
from hymem.stores.rows import (
    chunks,
    ids_to_blob,
    is_id,
    keys_from_blob,
    keys_to_blob,
    marks,
    passages_to_blobs,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import NewPassage, TokenIds

# What an encoder made of an item, and what another one makes of it meanwhile; ``item`` is the key.
KEY_TABLES = ("vectors", "tokens", "next_vectors", "next_tokens")


def check_keys(
    vectors: NDArray[np.float32],
    dim: int,
    token_ids: TokenIds | None = None,
    passages: Sequence[NewPassage] = (),
) -> None:
    """Raises ``EncoderError`` unless ``vectors`` is ``[keys, dim]`` of finite numbers, and every
    key has its tokens if any has, and every passage its key."""
    import numpy as np

    if vectors.ndim != 2 or vectors.shape[1] != dim or not np.isfinite(vectors).all():
        raise EncoderError(
            f"the encoder returned an array of shape {vectors.shape}, or one with numbers that are "
            f"not finite; expected [keys, {dim}] of finite numbers"
        )
    if token_ids is not None and len(token_ids) != len(vectors):
        raise EncoderError(
            f"the encoder returned token ids of {len(token_ids)} texts for {len(vectors)}"
        )
    if passages and len(passages) != len(vectors):
        raise EncoderError(f"there are {len(vectors)} vectors for {len(passages)} passages")


def put_keys(
    connection: sqlite3.Connection,
    item_id: int,
    vectors: NDArray[np.float32],
    token_ids: TokenIds | None,
) -> None:
    """Store an item's keys; those of a re-embedding under way would be of its old text."""
    drop_keys(connection, item_id)
    insert_keys(connection, item_id, vectors, token_ids)


def drop_keys(connection: sqlite3.Connection, item_id: int) -> None:
    for table in KEY_TABLES:
        connection.execute(f"DELETE FROM {table} WHERE item = ?", (item_id,))


def insert_keys(
    connection: sqlite3.Connection,
    item_id: int,
    vectors: NDArray[np.float32],
    token_ids: TokenIds | None,
    prefix: str = "",
) -> None:
    """``prefix``: that of the tables, ``next_`` for those of a re-embedding."""
    connection.execute(
        f"INSERT OR REPLACE INTO {prefix}vectors VALUES (?, ?)", (item_id, keys_to_blob(vectors))
    )
    if token_ids is not None:
        connection.execute(
            f"INSERT OR REPLACE INTO {prefix}tokens VALUES (?, ?)",
            (item_id, ids_to_blob(token_ids)),
        )


def put_passages(
    connection: sqlite3.Connection, item_id: int, passages: Sequence[NewPassage]
) -> None:
    """Store what a long text was cut into, if it was not known before."""
    if passages:
        connection.execute(
            "UPDATE items SET terms = ?, spans = ? WHERE id = ?",
            (*passages_to_blobs("", passages), item_id),
        )


def mean_vectors(
    connection: sqlite3.Connection, scope_id: int | None, ids: Sequence[int], dim: int
) -> NDArray[np.float32]:
    """See ``Store.vectors``."""
    import numpy as np

    found: dict[int, NDArray[np.float32]] = {}
    for some in chunks([item_id for item_id in ids if is_id(item_id)]):
        rows = connection.execute(
            "SELECT item, keys FROM vectors JOIN items ON id = item"
            f" WHERE item IN ({marks(some)}) AND +scope = ?",
            (*some, scope_id),
        )
        found.update((item, keys_from_blob(keys, dim)) for item, keys in rows)
    means = np.zeros((len(ids), dim), np.float32)
    for row, item_id in enumerate(ids):
        if len(found.get(item_id, ())):
            means[row] = found[item_id].mean(axis=0)
    return means
