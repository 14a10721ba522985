"""Inference of the spiking encoder with numpy: no torch, any number of time steps.

Spikes are −1, 0, 1 and weights int8, so every synaptic sum is an integer below 2²⁴ and exact in
float32, whatever the order of the additions: a text's spikes cannot depend on its batch mates.
Tokens of a batch lie end to end; what depends on a token alone is computed once per distinct
token. Equations are in `snn_encoder.model`.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
MAX_TIMESTEPS = 8
FORMAT = 1
_UNKNOWN = "[UNK]"


class WeightsError(ValueError):
    """Weights are missing, damaged, or of a format that this version does not read."""


@dataclass(frozen=True)
class _Linear:
    """An affine map with int8 weights kept as float32 integers.

    Attributes:
        weight: [in, out]; scale: [out]; bias: [out] or 0.
    """

    weight: Floats
    scale: Floats
    bias: Floats | float = 0.0

    def __call__(self, x: Floats) -> Floats:
        out: Floats = x @ self.weight * self.scale + self.bias
        return out


@dataclass(frozen=True)
class _Block:
    """A context block with its batch norm folded into the convolution.

    Attributes:
        linear: spikes to currents (its scale is folded into `taps`).
        taps: [K, channels]; bias: [channels].
        context: sentence means to gate and shift.
    """

    linear: Floats
    taps: Floats
    bias: Floats
    context: _Linear


@dataclass
class _Batch:
    """Sentences end to end.

    Attributes:
        starts: first token of each sentence; lengths: their tokens, float32 [B, 1].
        segment: the sentence of each token; spaced: its row between gaps of zeros.
    """

    starts: NDArray[np.intp]
    lengths: Floats
    segment: NDArray[np.intp]
    spaced: NDArray[np.intp]
    spaced_rows: int

    @classmethod
    def of(cls, lengths: NDArray[np.intp], gap: int) -> _Batch:
        segment = np.repeat(np.arange(len(lengths)), lengths)
        starts = np.cumsum(lengths) - lengths
        spaced = np.arange(len(segment)) + gap * (segment + 1)
        rows = len(segment) + gap * (len(lengths) + 1)
        return cls(starts, lengths.astype(np.float32)[:, None], segment, spaced, rows)

    def sums(self, x: NDArray[Any]) -> Floats:
        """Sum tokens' rows per sentence: [N, d] to [B, d]."""
        out: Floats = np.add.reduceat(x, self.starts, axis=0, dtype=np.float32)
        return out


class _Neurons:
    """The membrane potentials of one level: ternary, soft reset, θ = q / 2 = 1/2."""

    def __init__(self, leak: float | Floats) -> None:
        self.leak = leak
        self.v: Floats | None = None

    def step(self, current: Floats) -> Floats:
        """Return this step's spikes as float32 in {−1, 0, 1}."""
        if self.v is None:
            u = current.copy()
        else:
            u = self.v
            u *= self.leak
            u += current
        spikes = (u >= 0.5).astype(np.float32)
        spikes -= u <= -0.5
        u -= spikes
        self.v = u
        return spikes


class SpikingEncoder:
    """Spiking sentence encoder: texts to unit vectors in all-MiniLM-L6-v2's space.

    Load one with `SpikingEncoder.from_pretrained`.

    Attributes:
        name: tier or folder it was loaded from.
        dim: length of its vectors.
        max_tokens: longer texts are cut here, with one warning.
        timesteps: T used when `encode` is given none.
    """

    def __init__(self, folder: Path, name: str) -> None:
        from tokenizers import Tokenizer

        config, tensors, digest = _load(folder)
        self._folder, self._config = folder, config
        self._digest = digest
        self.name = f"snn-{name}"
        self.dim = int(config["dim"])
        self.max_tokens = int(config["max_tokens"])
        self.timesteps = int(config["timesteps"])
        self._gap = int(config["taps"]) // 2
        self._warned = False
        path = folder / "tokenizer.json"
        if not path.exists():
            path = Path(__file__).parent / "tokenizer.json"
        self._tokenizer = Tokenizer.from_file(str(path))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._unknown = int(self._tokenizer.token_to_id(_UNKNOWN) or 0)
        self._leak: float | Floats = float(config["leak"])
        self._table: NDArray[np.int8] = tensors["table"]
        self._table_scale = np.float32(config["table_scale"])
        self._blocks = [_block(tensors, f"blocks.{i}") for i in range(int(config["blocks"]))]
        self._readouts = [
            _linear(tensors, f"readouts.{i}") for i in range(int(config["blocks"]) + 1)
        ]
        self._bias: Floats = tensors["bias"]

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "small") -> SpikingEncoder:
        """Load packaged weights ("nano", "small") or a folder that `save_pretrained` wrote.

        Raises:
            WeightsError: no such weights, or damaged ones, or of another format.
        """
        packaged = Path(__file__).parent / "weights" / str(name_or_path)
        folder = packaged if (packaged / "config.json").exists() else Path(name_or_path)
        return cls(folder, Path(name_or_path).name)

    def save_pretrained(self, folder: str | Path) -> None:
        """Copy the configuration, weights and tokenizer into a folder."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "model.safetensors"):
            (target / name).write_bytes((self._folder / name).read_bytes())
        self._tokenizer.save(str(target / "tokenizer.json"))

    @property
    def version(self) -> str:
        """Hash of the weights, steps and mode: vectors of unlike versions do not compare."""
        return f"{self._digest[:12]}-T{self.timesteps}-int8"

    def encode(
        self, texts: Sequence[str], timesteps: int | None = None, batch_size: int = 64
    ) -> Floats:
        """Return float32 [n, dim], unit rows.

        Args:
            texts: any strings; an empty one counts as one unknown token.
            timesteps: T from 1 to 8; more steps are slower and nearer to the real-valued limit.
            batch_size: texts computed together; it changes speed and memory only.

        Raises:
            TypeError: a single string was given.
            ValueError: T or the batch size is out of range.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts: pass [text].")
        steps = self.timesteps if timesteps is None else timesteps
        if not 1 <= steps <= MAX_TIMESTEPS:
            raise ValueError(f"timesteps must lie between 1 and {MAX_TIMESTEPS}, got {steps}.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        ids = self._tokenize(texts)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            out[rows] = self._forward([ids[i] for i in rows], steps)
        return out

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [list(encoding.ids) or [self._unknown] for encoding in encodings]
        longest = max(map(len, ids), default=0)
        if longest > self.max_tokens:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"A text of {longest} tokens is cut to {self.max_tokens}; split long texts "
                    "to keep their ends searchable.",
                    stacklevel=3,
                )
            ids = [row[: self.max_tokens] for row in ids]
        return ids

    def _forward(self, ids: list[list[int]], steps: int) -> Floats:
        batch = _Batch.of(np.array([len(row) for row in ids]), self._gap)
        flat = np.fromiter((i for row in ids for i in row), np.intp, len(batch.segment))
        distinct, inverse = np.unique(flat, return_inverse=True)
        currents = self._table[distinct] * self._table_scale
        levels = [_Neurons(self._leak) for _ in range(len(self._blocks) + 1)]
        sums = [np.zeros((len(ids), r.weight.shape[0]), np.float32) for r in self._readouts]
        for _ in range(steps):
            spikes = levels[0].step(currents)
            total = batch.sums(spikes[inverse])
            sums[0] += total
            for index, block in enumerate(self._blocks):
                projected = spikes @ block.linear
                if index == 0:
                    projected = projected[inverse]
                current = _context(projected, total, block, batch)
                spikes = levels[index + 1].step(current)
                total = batch.sums(spikes)
                sums[index + 1] += total
        z: Floats = self._bias * np.ones((len(ids), 1), np.float32)
        for readout, total in zip(self._readouts, sums, strict=True):
            z += readout(total) / (batch.lengths * steps)
        z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
        return z


def _context(projected: Floats, total: Floats, block: _Block, batch: _Batch) -> Floats:
    """Return a block's currents [N, channels] for one step."""
    taps = len(block.taps)
    spaced = np.zeros((batch.spaced_rows, projected.shape[1]), np.float32)
    spaced[batch.spaced] = projected
    rows = batch.spaced_rows - taps + 1
    out = spaced[:rows] * block.taps[0]
    for k in range(1, taps):
        out += spaced[k : k + rows] * block.taps[k]
    context = (total @ block.context.weight) * (block.context.scale / batch.lengths)
    context += block.context.bias
    gate, shift = np.split(context, 2, axis=1)
    gate = 2 / (1 + np.exp(-gate))
    shift = shift + block.bias * gate
    current: Floats = out[batch.spaced - taps // 2]
    current *= gate[batch.segment]
    current += shift[batch.segment]
    return current


def _linear(tensors: dict[str, Any], name: str, bias: bool = False) -> _Linear:
    return _Linear(
        np.ascontiguousarray(tensors[f"{name}.weight"].T.astype(np.float32)),
        tensors[f"{name}.scale"].astype(np.float32),
        tensors[f"{name}.bias"] if bias else 0.0,
    )


def _block(tensors: dict[str, Any], name: str) -> _Block:
    return _Block(
        np.ascontiguousarray(tensors[f"{name}.linear"].T.astype(np.float32)),
        tensors[f"{name}.taps"],
        tensors[f"{name}.bias"],
        _linear(tensors, f"{name}.context", bias=True),
    )


def _load(folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Return (configuration, tensors, sha256 of the weights) of a folder."""
    from safetensors.numpy import load

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        raw = (folder / "model.safetensors").read_bytes()
    except FileNotFoundError as error:
        raise WeightsError(
            f"No spiking encoder at {folder}: pass 'nano', 'small' or a folder with config.json "
            "and model.safetensors."
        ) from error
    if config.get("format") != FORMAT:
        raise WeightsError(
            f"Weights at {folder} have format {config.get('format')!r}, this version reads "
            f"{FORMAT}: install the release that they came with, or export them again."
        )
    digest = hashlib.sha256(raw).hexdigest()
    if digest != config["sha256"]:
        raise WeightsError(
            f"Weights at {folder} are damaged (sha256 {digest[:12]}…, expected "
            f"{config['sha256'][:12]}…): reinstall the package or fetch them again."
        )
    return config, load(raw), digest
