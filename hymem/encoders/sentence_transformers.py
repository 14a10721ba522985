"""Any Sentence Transformers model as an encoder. Needs the extra ``[sentence-transformers]``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from hymem.encoders.unit_rows import unit_rows
from hymem.errors import EncoderError
from hymem.system.redact import guarded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

# Some models have no limit of their own, but a vector of many pages finds little.
LONGEST = 512


class SentenceTransformersEncoder:
    """``Encoder`` on a model's name, a local folder, or a loaded ``SentenceTransformer``.

    Raises ``EncoderError`` when the extra is not installed or the model cannot be loaded.
    """

    def __init__(self, model: Any = "sentence-transformers/all-MiniLM-L6-v2") -> None:
        self._model = _load(model) if isinstance(model, str) else model
        name = model if isinstance(model, str) else model.model_card_data.base_model
        self.name = f"sentence-transformers/{str(name or 'model').rsplit('/', 1)[-1]}"

    @cached_property
    def dim(self) -> int:
        return len(self._ask(lambda: self._model.encode("", show_progress_bar=False)))

    @property
    def max_tokens(self) -> int:
        longest = self._ask(self._model.get_max_seq_length) or LONGEST
        return int(min(longest, LONGEST))

    @cached_property
    def version(self) -> str:
        """A hash of the weights."""
        return self._ask(lambda: _hash(self._model))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``float32[len(texts), dim]``, unit rows. Raises ``EncoderError``."""
        if not len(texts):
            return unit_rows([], texts, self.dim)
        vectors = self._ask(lambda: self._model.encode(list(texts), show_progress_bar=False))
        return unit_rows(vectors, texts, self.dim)

    def _ask(self, call: Callable[[], T]) -> T:
        return guarded(EncoderError, self.name, call)


def _hash(model: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def _load(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise EncoderError(
            "this encoder needs an extra: pip install 'hymem[sentence-transformers]'"
        ) from None
    who = f"the model {name!r} cannot be loaded"
    return guarded(EncoderError, who, lambda: SentenceTransformer(name))
