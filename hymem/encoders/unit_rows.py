"""What every encoder owes its caller: one row of length 1 per text, or an ``EncoderError``."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hymem.errors import EncoderError
from hymem.system.redact import guarded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.types import Encoder, TokenCoder


def encode(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float32]:
    """``encoder``'s ``float32[len(texts), dim]``. It may be anybody's: whatever it raises or
    returns instead is an ``EncoderError``. What the ledger raises of it goes through."""
    import numpy as np

    if not texts:
        return np.zeros((0, encoder.dim), np.float32)
    rows = _numbers(guarded(EncoderError, encoder.name, lambda: encoder.encode(texts)))
    if rows is None or rows.shape != (len(texts), encoder.dim) or not np.isfinite(rows).all():
        shape = "something else" if rows is None else f"an array of shape {rows.shape}"
        raise EncoderError(
            f"{encoder.name} returned {shape}, or one with numbers that are not finite; expected "
            f"{(len(texts), encoder.dim)}"
        )
    return rows


def token_ids(encoder: TokenCoder, name: str, texts: Sequence[str]) -> Sequence[NDArray[np.uint16]]:
    """``encoder``'s tokens of each text; raises as ``encode`` does."""
    ids = guarded(EncoderError, name, partial(encoder.token_ids, texts))
    if len(ids) != len(texts):
        raise EncoderError(f"{name} returned tokens of {len(ids)} texts for {len(texts)}")
    return ids


def token_codes(encoder: TokenCoder, name: str, ids: NDArray[np.uint16]) -> NDArray[np.float32]:
    """``encoder``'s codes of ``ids``, ``float32[len(ids), d]``. Whatever it raises or returns
    instead is an ``EncoderError``, as with ``encode``."""
    return _of_tokens(name, guarded(EncoderError, name, partial(encoder.token_codes, ids)), ids, 2)


def token_weights(encoder: TokenCoder, name: str, ids: NDArray[np.uint16]) -> NDArray[np.float32]:
    """``encoder``'s weights of ``ids``, ``float32[len(ids)]``; raises as ``token_codes`` does."""
    found = guarded(EncoderError, name, partial(encoder.token_weights, ids))
    return _of_tokens(name, found, ids, 1)


def _of_tokens(name: str, found: Any, ids: NDArray[np.uint16], axes: int) -> NDArray[np.float32]:
    import numpy as np

    rows = _numbers(found)
    if rows is None or rows.ndim != axes or len(rows) != len(ids) or not np.isfinite(rows).all():
        raise EncoderError(
            f"{name} returned for {len(ids)} tokens something else than a finite number or row each"
        )
    return rows


def unit_rows(vectors: Any, texts: Sequence[str], dim: int) -> NDArray[np.float32]:
    """``vectors`` as ``float32[len(texts), dim]`` with rows of length 1.

    Raises ``EncoderError`` when there are fewer or more rows, another width, or a row without a
    direction (zero, or not finite).
    """
    import numpy as np

    if not len(texts):
        return np.zeros((0, dim), np.float32)
    rows = _numbers(vectors)
    if rows is None:
        raise EncoderError("the encoder returned vectors that are not lists of numbers")
    if rows.ndim != 2 or rows.shape != (len(texts), dim):
        raise EncoderError(
            f"the encoder returned an array of {' x '.join(map(str, rows.shape))} numbers for "
            f"{len(texts)} texts; {dim} numbers each were expected"
        )
    with np.errstate(all="ignore"):  # what overflows is not finite
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise EncoderError("the encoder returned a vector that is zero or not finite")
    scaled: NDArray[np.float32] = rows / lengths
    return scaled


def _numbers(vectors: Any) -> NDArray[np.float32] | None:
    import numpy as np

    try:
        with np.errstate(all="ignore"):
            return np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        return None
