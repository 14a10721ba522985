"""From turns and units to key vectors."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hymem.encoders.unit_rows import encode, token_ids
from hymem.errors import EncoderError
from hymem.llm.waits import somebody_waits
from hymem.system.redact import brief
from hymem.text.keys import KeyTexts, key_texts
from hymem.types import Encoder, TokenCoder, Turn, Unit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import NewPassage, Store, TokenIds

log = logging.getLogger(__name__)

ITEMS_PER_CALL = 512
# Any encoder that is up can encode this.
_PROBE = "hello"


class Keys(NamedTuple):
    """What an item is found by: ``float32[keys, dim]``, the tokens of each key, ``None`` where the
    encoder has no token codes, and of a turn that was cut its passages, one for each key."""

    vectors: NDArray[np.float32]
    token_ids: TokenIds | None
    passages: Sequence[NewPassage] = ()


def encode_groups(encoder: Encoder, groups: Sequence[KeyTexts]) -> list[Keys]:
    """The keys of each group of texts, from one call to the encoder. Raises ``EncoderError``,
    whatever the encoder raised, ``BudgetError`` and ``PriceError``."""
    texts = [text for group in groups for text in group.texts]
    rows, ids, _ = _keys(encoder, texts)
    split, end = [], 0
    for group in groups:
        here = slice(end, end + len(group.texts))
        split.append(Keys(rows[here], None if ids is None else ids[here], group.passages))
        end = here.stop
    return split


def encode_items(encoder: Encoder, items: Sequence[Turn | Unit]) -> list[Keys]:
    """The keys of each item."""
    return encode_groups(encoder, [key_texts(item, encoder.max_tokens) for item in items])


def fill_in_token_ids(store: Store, encoder: Encoder) -> None:
    """Give the memories that an older version of HyMem wrote their tokens' ids; their vectors stay.
    In small steps: an interrupted run goes on where it stopped."""
    if not isinstance(encoder, TokenCoder):
        return
    while items := store.uncoded(ITEMS_PER_CALL):
        log.info("an older version's memories get token ids: down from %d", items[0].id)
        groups = [key_texts(item, encoder.max_tokens).texts for item in items]
        ids = iter(token_ids(encoder, encoder.name, [text for group in groups for text in group]))
        store.put_token_ids(
            [
                (item.id, [next(ids) for _ in group])
                for item, group in zip(items, groups, strict=True)
            ]
        )


def encode_each(encoder: Encoder, items: Sequence[Turn | Unit]) -> list[Keys | None]:
    """As ``encode_items``, but ``None`` for each item that the encoder fails on. Raises
    ``EncoderError`` when it fails on everything, and is down."""
    try:
        return [*encode_items(encoder, items)]
    except EncoderError as error:
        with somebody_waits():  # as on one that is up nobody would for long
            _keys(encoder, [_PROBE])
        if len(items) == 1:
            log.warning("the encoder fails on the memory %d: %s", items[0].id, brief(error))
            return [None]
    half = len(items) // 2
    return encode_each(encoder, items[:half]) + encode_each(encoder, items[half:])


def _keys(encoder: Encoder, texts: Sequence[str]) -> Keys:
    rows = encode(encoder, texts)
    if not isinstance(encoder, TokenCoder):
        return Keys(rows, None)
    return Keys(rows, token_ids(encoder, encoder.name, texts))
