"""The weights of an encoder: what a folder of them holds, checked and ready to compute with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
FORMAT = 1
MAX_TIMESTEPS = 8


class WeightsError(ValueError):
    """Weights are missing, damaged, or of a format that this version does not read."""


@dataclass(frozen=True)
class Linear:
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
class Block:
    """A context block with its batch norm folded into the convolution.

    Attributes:
        linear: spikes to currents (its scale is folded into `taps`).
        taps: [K, channels]; bias: [channels].
        context: sentence means to gate and shift.
    """

    linear: Floats
    taps: Floats
    bias: Floats
    context: Linear


@dataclass(frozen=True)
class Parameters:
    """Everything that a folder of weights says.

    Attributes:
        folder: where they lie; digest: sha256 of their tensors.
        dim: length of a vector; max_tokens: longer texts are cut.
        timesteps: T where none is given.
        table: currents of each token in units of 1/128, int8 [vocabulary, width].
        blocks: context blocks, in order.
        readouts: level 0's and each block's, without bias; bias: [dim].
    """

    folder: Path
    digest: str
    dim: int
    max_tokens: int
    timesteps: int
    table: NDArray[np.int8]
    blocks: tuple[Block, ...]
    readouts: tuple[Linear, ...]
    bias: Floats

    @classmethod
    def load(cls, folder: Path) -> Parameters:
        """Read and check a folder.

        Raises:
            WeightsError: no such weights, or damaged ones, or of another format.
        """
        try:
            return cls._read(folder)
        except WeightsError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{folder / 'config.json'} is damaged ({error!r}): reinstall the package or fetch "
                "the weights again."
            ) from error

    @classmethod
    def _read(cls, folder: Path) -> Parameters:
        config, tensors, digest = _load(folder)
        count = int(config["blocks"])
        found = cls(
            folder=folder,
            digest=digest,
            dim=int(config["dim"]),
            max_tokens=int(config["max_tokens"]),
            timesteps=int(config["timesteps"]),
            table=tensors["table"],
            blocks=tuple(_block(tensors, f"blocks.{i}") for i in range(count)),
            readouts=tuple(_linear(tensors, f"readouts.{i}") for i in range(count + 1)),
            bias=tensors["bias"],
        )
        if (
            found.dim != len(found.bias)
            or found.timesteps not in range(1, MAX_TIMESTEPS + 1)
            or found.max_tokens < 1
        ):
            raise ValueError("dim, timesteps or max_tokens is impossible")
        return found

    @property
    def widths(self) -> list[int]:
        """Channels of each level."""
        return [readout.weight.shape[0] for readout in self.readouts]


def _linear(tensors: dict[str, Any], name: str, bias: bool = False) -> Linear:
    return Linear(
        np.ascontiguousarray(tensors[f"{name}.weight"].T.astype(np.float32)),
        tensors[f"{name}.scale"].astype(np.float32),
        tensors[f"{name}.bias"] if bias else 0.0,
    )


def _block(tensors: dict[str, Any], name: str) -> Block:
    return Block(
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
            "and model.safetensors. The weights of 'base' are not in the package: pass the folder "
            "snn_encoder/weights/base of a clone of the repository, or train and export them."
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
