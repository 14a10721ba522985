"""Encoders under test by name, and a cache of their vectors on disk."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evals.data.files import DataError, cache_dir

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.types import Encoder


class MiniLM:
    """all-MiniLM-L6-v2 with its full window of 256 tokens, in bfloat16 (cosine to float32 above
    .9998; three to four times as fast on processors with AMX)."""

    name = "all-MiniLM-L6-v2"
    dim = 384
    max_tokens = 256

    def __init__(self) -> None:
        from snn_encoder.distill.teacher import Teacher

        self._teacher = Teacher(max_tokens=self.max_tokens)

    @property
    def version(self) -> str:
        return f"minilm-{self._teacher.key}-bf16"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        import numpy as np

        return np.asarray(self._teacher.encode(texts), np.float32)


class CachedEncoder:
    """An ``Encoder`` whose vectors stay on disk, found by the encoder's version and the text.

    Two files per version: 16-byte text digests and float32 rows in the same order. Rows are
    written before digests, so that an interrupted run leaves at most rows without a digest, which
    the next append overwrites. Several processes and threads may share a cache.
    """

    def __init__(self, encoder: Encoder, folder: str | Path | None = None) -> None:
        self._encoder = encoder
        self.name, self.version, self.dim = encoder.name, encoder.version, encoder.dim
        self.max_tokens = encoder.max_tokens
        self.encoded = 0  # texts that were not in the cache
        self._folder = Path(folder or cache_dir().parent / "vectors") / self.version.replace(
            "/", "_"
        )
        self._folder.mkdir(parents=True, exist_ok=True)
        self._rows: dict[bytes, int] = {}
        self._known = 0
        self._stored: NDArray[np.float32] | None = None  # the rows known when it was mapped
        self._lock = threading.Lock()
        self._read_digests()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """``float32[len(texts), dim]``, encoding only what no run has encoded before."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.dim), np.float32)
        digests = [
            hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16] for text in texts
        ]
        with self._lock:
            missing = {
                digest: text
                for digest, text in zip(digests, texts, strict=True)
                if digest not in self._rows
            }
            if missing:
                self._append(missing)
            if self._stored is None or len(self._stored) < self._known:
                self._stored = np.memmap(
                    self._folder / "vectors.f32", np.float32, "r", shape=(self._known, self.dim)
                )
            stored = self._stored
        return np.asarray(stored[[self._rows[digest] for digest in digests]])

    def _append(self, missing: dict[bytes, str], piece: int = 2048) -> None:
        items = list(missing.items())
        for start in range(0, len(items), piece):
            part = items[start : start + piece]
            vectors = self._encoder.encode([text for _, text in part])
            with (self._folder / "digests.bin").open("ab") as digests:
                fcntl.flock(digests, fcntl.LOCK_EX)
                row = os.fstat(digests.fileno()).st_size // 16
                path = self._folder / "vectors.f32"
                path.touch()
                with path.open("r+b") as rows:
                    rows.seek(row * self.dim * 4)
                    rows.write(vectors.astype("<f4").tobytes())
                digests.write(b"".join(digest for digest, _ in part))
            self.encoded += len(part)
            self._read_digests()

    def _read_digests(self) -> None:
        path = self._folder / "digests.bin"
        if not path.exists():
            return
        with path.open("rb") as stream:
            stream.seek(self._known * 16)
            new = stream.read()
        for index in range(len(new) // 16):
            self._rows[new[index * 16 : index * 16 + 16]] = self._known + index
        self._known += len(new) // 16


class CachedTokenCoder(CachedEncoder):
    """The same for an encoder with token codes, which it passes on."""

    def __init__(self, encoder: Encoder, folder: str | Path | None = None) -> None:
        from hymem.types import TokenCoder

        super().__init__(encoder, folder)
        if not isinstance(encoder, TokenCoder):
            raise TypeError(f"{encoder.name} has no token codes")
        self.vocabulary = encoder.vocabulary
        self.token_ids, self.token_codes = encoder.token_ids, encoder.token_codes
        self.token_weights = encoder.token_weights


def cached(encoder: Encoder, folder: str | Path | None = None) -> CachedEncoder:
    """``encoder`` with its vectors kept in ``folder``, and with token codes if it has any."""
    from hymem.types import TokenCoder

    kind = CachedTokenCoder if isinstance(encoder, TokenCoder) else CachedEncoder
    return kind(encoder, folder)


def load_encoder(name: str) -> Encoder:
    """``minilm``; ``spiking`` (HyMem's default) or ``spiking:FOLDER_OR_TIER``; or
    ``st:MODEL`` for a Sentence Transformers model, static ones included.

    Raises ``DataError`` for any other name, and for weights that cannot be loaded.
    """
    kind, _, model = name.partition(":")
    if name == "minilm":
        return MiniLM()
    if name == "spiking":
        from hymem.wiring import default_encoder

        return default_encoder()
    if kind == "spiking" and model:
        from snn_encoder import SpikingEncoder, WeightsError

        try:
            spiking: Encoder = SpikingEncoder.from_pretrained(model)
        except WeightsError as error:
            raise DataError(str(error)) from error
        return spiking
    if kind == "st" and model:
        from hymem.encoders.sentence_transformers import SentenceTransformersEncoder

        return SentenceTransformersEncoder(model)
    raise DataError(f"Unknown encoder {name!r}: use minilm, spiking, spiking:TIER or st:MODEL.")
