"""What every encoder owes its caller: one row of length 1 per text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hymem.errors import EncoderError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def unit_rows(vectors: Any, texts: Sequence[str], dim: int) -> NDArray[np.float32]:
    """``vectors`` as ``float32[len(texts), dim]`` with rows of length 1.

    Raises ``EncoderError`` when there are fewer or more rows, another width, or a row without a
    direction (zero, or not finite).
    """
    import numpy as np

    if not len(texts) and not len(vectors):
        return np.zeros((0, dim), np.float32)
    rows: NDArray[np.float32] = np.asarray(vectors, dtype=np.float32).reshape(len(vectors), -1)
    if rows.shape != (len(texts), dim):
        raise EncoderError(
            f"the encoder returned {rows.shape[0]} vectors of {rows.shape[1]} numbers for "
            f"{len(texts)} texts; {dim} numbers each were expected"
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or not lengths.all():
        raise EncoderError("the encoder returned a vector that is zero or not finite")
    scaled: NDArray[np.float32] = rows / lengths
    return scaled
