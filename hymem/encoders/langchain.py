"""Any LangChain ``Embeddings`` as an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hymem.encoders.unit_rows import unit_rows
from hymem.errors import EncoderError
from hymem.system.redact import guarded, secrets_of

if TYPE_CHECKING:
    import numpy as np
    from langchain_core.embeddings import Embeddings
    from numpy.typing import NDArray


class LangChainEncoder:
    """``Encoder`` on LangChain ``embeddings``.

    ``model`` names it in the store and in the ledger, and must change when its weights do, since
    LangChain offers no way to ask. ``dim`` is its vectors' length. LangChain reports no usage, so
    tokens are estimated; a model that runs on this machine gets ``prices={model: (0, 0)}``.
    """

    def __init__(
        self, embeddings: Embeddings, *, model: str, dim: int, max_tokens: int = 512
    ) -> None:
        self._embeddings = embeddings
        self.model, self.dim, self.max_tokens = model, dim, max_tokens

    @property
    def name(self) -> str:
        return f"langchain/{self.model}"

    @property
    def version(self) -> str:
        return f"{self.model}/{self.dim}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``float32[len(texts), dim]``, unit rows. Raises ``EncoderError``."""
        if not len(texts):
            return unit_rows([], texts, self.dim)
        vectors = guarded(
            EncoderError,
            self.name,
            lambda: self._embeddings.embed_documents(list(texts)),
            lambda: secrets_of(self._embeddings),
        )
        return unit_rows(vectors, texts, self.dim)

    def encode_counted(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], None]:
        """As ``encode``; the tokens are unknown."""
        return self.encode(texts), None
