"""Encoding a whole store anew, beside the vectors in service."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from hymem.encoders.key_vectors import ITEMS_PER_CALL, encode_items
from hymem.types import Encoder
from hymem.wiring import default_encoder, open_store


def reembed(
    path: str | Path,
    encoder: Encoder | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Encode every memory in the database at ``path`` anew with ``encoder`` (default: the shipped
    one); how many. ``progress`` is called with the number done so far.

    The old vectors stay in service until all new ones are there; an interrupted run goes on where
    it stopped. Raises ``StoreError``, ``EncoderError``.
    """
    encoder = encoder or default_encoder()
    store = open_store(path, encoder, reembed=True)
    done = 0
    try:
        while not store.finish_reembed():
            while items := store.to_reembed(ITEMS_PER_CALL):
                found = encode_items(encoder, [item for _, item in items])
                store.put_reembedded(
                    [(item.id, *keys[:2]) for (_, item), keys in zip(items, found, strict=True)]
                )
                done += len(items)
                progress(done)
    finally:
        store.close()
    return done
