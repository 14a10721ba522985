# mypy: disable-error-code="override,misc,no-untyped-call"
"""The spiking encoder as a sentence-transformers module (extra `[sentence-transformers]`)::

    from sentence_transformers import SentenceTransformer
    from snn_encoder import SpikingModule

    model = SentenceTransformer(modules=[SpikingModule("small")])

Inference only: it runs on the CPU through numpy; `python -m snn_encoder.train` trains it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import InputModule

from snn_encoder.inference import SpikingEncoder


class SpikingModule(InputModule):
    """Texts to "sentence_embedding", float32 [n, dim], unit rows.

    Args:
        weights: name or folder, as for `SpikingEncoder.from_pretrained`.
        timesteps: T, the weights' default when left out.
    """

    save_in_root = False

    def __init__(self, weights: str | Path = "small", timesteps: int | None = None) -> None:
        super().__init__()
        self.encoder = SpikingEncoder.from_pretrained(weights)
        self.timesteps = timesteps
        self.max_seq_length = self.encoder.max_tokens

    def preprocess(
        self, inputs: list[str], prompt: str | None = None, **_: Any
    ) -> dict[str, list[str]]:
        """Pass texts on: the encoder tokenizes by itself and needs no padding."""
        return {"texts": self._prepend_prompt(inputs, prompt) if prompt else list(inputs)}

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        vectors = self.encoder.encode(features["texts"], self.timesteps)
        return {**features, "sentence_embedding": torch.from_numpy(vectors)}

    def get_embedding_dimension(self) -> int:
        return self.encoder.dim

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        self.encoder.save_pretrained(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **_: Any) -> SpikingModule:
        return cls(Path(model_name_or_path) / subfolder)


SpikingModule.__module__ = "snn_encoder"  # saved models name the class by it
