"""From turns and units to key vectors, and encoding a whole store anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hymem.keys import dense_keys, strip_recalled, windows
from hymem.types import Encoder, Turn, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ITEMS_PER_CALL = 512


def turn_keys(speaker: str, text: str, max_tokens: int) -> list[str]:
    """The texts to encode for a turn; none if it only repeats recalled text."""
    said = strip_recalled(text)
    return dense_keys(speaker, said, max_tokens) if said.strip() else []


def unit_key(text: str, max_tokens: int) -> str:
    """What is encoded of a unit: as much as the encoder's window holds."""
    return windows(text, max_tokens)[0]


def encode_groups(encoder: Encoder, groups: Sequence[Sequence[str]]) -> list[NDArray[np.float32]]:
    """``float32[len(group), dim]`` for each group of texts, from one call to the encoder."""
    rows = encoder.encode([text for group in groups for text in group])
    split, end = [], 0
    for group in groups:
        split.append(rows[end : end + len(group)])
        end += len(group)
    return split


def encode_items(encoder: Encoder, items: Sequence[Turn | Unit]) -> list[NDArray[np.float32]]:
    """The key vectors of each item, ``float32[keys, dim]``."""
    return encode_groups(
        encoder,
        [
            turn_keys(item.speaker, item.text, encoder.max_tokens)
            if isinstance(item, Turn)
            else [unit_key(item.text, encoder.max_tokens)]
            for item in items
        ],
    )


def reembed(
    path: str | Path,
    encoder: Encoder | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> int:
    """Encode every memory in the database at ``path`` anew with ``encoder`` (default: the shipped
    one); how many. ``progress`` is called with the number done so far.

    The old vectors stay in service until all new ones are there; an interrupted run goes on where
    it stopped. Raises ``StoreError``.
    """
    from hymem.defaults import default_encoder, open_store

    encoder = encoder or default_encoder()
    store = open_store(path, encoder, reembed=True)
    done = 0
    try:
        while not store.finish_reembed():
            while items := store.to_reembed(ITEMS_PER_CALL):
                vectors = encode_items(encoder, [item for _, item in items])
                ids = [item.id for _, item in items]
                store.put_reembedded(list(zip(ids, vectors, strict=True)))
                done += len(items)
                progress(done)
    finally:
        store.close()
    return done
