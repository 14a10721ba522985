"""The spiking encoder as langchain `Embeddings` (extra `[langchain]`)."""

from __future__ import annotations

from pathlib import Path

from langchain_core.embeddings import Embeddings

from snn_encoder.inference import SpikingEncoder


class SpikingEmbeddings(Embeddings):
    """Embeddings for any langchain vector store.

    Args:
        weights: name or folder, as for `SpikingEncoder.from_pretrained`.
        timesteps: T, the weights' default when left out.
    """

    def __init__(self, weights: str | Path = "small", timesteps: int | None = None) -> None:
        self.encoder = SpikingEncoder.from_pretrained(weights)
        self.timesteps = timesteps

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one unit vector a text."""
        rows: list[list[float]] = self.encoder.encode(texts, self.timesteps).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """Return the unit vector of one text."""
        return self.embed_documents([text])[0]
