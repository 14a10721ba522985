"""Inference of the spiking encoder with numpy: no torch, any number of time steps.

Spikes are −1, 0, 1 and weights int8, so every synaptic sum is an integer below 2²⁴ and exact in
float32, whatever the order of the additions: a text's spikes cannot depend on its batch mates.
Tokens of a batch lie end to end; what depends on a token alone is computed once per distinct
token. Equations are in `snn_encoder.model`.
"""

from __future__ import annotations

import hashlib
import json
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn_encoder.tokenizer import load_tokenizer, vocabulary

if TYPE_CHECKING:
    from snn_encoder.restore import TorchEncoder

Floats = NDArray[np.float32]
MAX_TIMESTEPS = 8
AGREEMENT = 0.99  # cosine of one step's vector to the next at which "auto" stops
FIRST = 2  # steps of a search whose margin is not thin
REACH = 3  # ranks to either side of the k-th between which that margin is measured
MARGIN = 0.024  # score between them at which a search stops
FORMAT = 1
CODE_DIM = 192  # of a token's code
_QUANTUM = 128  # of the int8 token table: 1/2 t is then a whole number for t = 1, 2, 4, 8
_HALF = 64
_UNKNOWN = "[UNK]"
_one_at_a_time = threading.Lock()


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


class _Batch:
    """Sentences end to end, and the distinct tokens among them.

    Attributes:
        lengths: tokens of each sentence, float32 [B, 1].
        distinct: token ids, each once, [U]; inverse: where each token is among them, [N].
        counts: how often a sentence holds each distinct token, float32 [B, U].
    """

    def __init__(self, ids: Sequence[Sequence[int]]) -> None:
        sizes = np.array([len(row) for row in ids])
        self.size = len(sizes)
        self.segment = np.repeat(np.arange(self.size), sizes)
        self.ends = np.cumsum(sizes)
        self.lengths: Floats = sizes.astype(np.float32)[:, None]
        flat = np.fromiter(chain.from_iterable(ids), np.intp, int(self.ends[-1]))
        self.distinct, self.inverse = np.unique(flat, return_inverse=True)
        width = len(self.distinct)
        cells = np.bincount(self.segment * width + self.inverse, minlength=self.size * width)
        self.counts: Floats = cells.astype(np.float32).reshape(self.size, width)

    def sums(self, x: Floats) -> Floats:
        """Sum tokens' rows per sentence, [N, d] to [B, d]; numpy's reduceat is 15 times slower."""
        out = np.empty((self.size, x.shape[1]), np.float32)
        start = 0
        for row, end in zip(out, self.ends.tolist(), strict=True):
            np.add.reduce(x[start:end], 0, out=row)
            start = end
        return out


class _TokenNeurons:
    """Level 0 in whole numbers: table currents are k/128, so a spike takes 128 away."""

    def __init__(self, table: NDArray[np.int8]) -> None:
        self.current = table.astype(np.int16)
        self.u = np.zeros_like(self.current)

    def step(self) -> Floats:
        """Return this step's spikes, float32 in {−1, 0, 1}."""
        self.u += self.current
        spikes = (self.u >= _HALF).view(np.int8) - (self.u <= -_HALF).view(np.int8)
        self.u -= spikes * np.int16(_QUANTUM)
        return spikes.astype(np.float32)


class _TokenCodes:
    """Codes of single tokens, computed when first asked for. Safe to use from several threads:
    whoever computes a row computes the same.

    They are kept in the readout's `CODE_DIM` principal directions, where looking at many of them
    takes half the time: a cosine changes by .006 (root mean square, `small`).
    """

    def __init__(self, table: NDArray[np.int8], readout: _Linear, steps: int) -> None:
        self.steps = steps
        self._table, self._readout = table, readout
        self._known = np.zeros(len(table), np.bool_)
        # Memory is taken only for the rows that are written.
        self._directions = _principal(readout.weight * readout.scale)
        self._rows: Floats = np.zeros((len(table), self._directions.shape[1]), np.float32)
        self._lengths: Floats = np.zeros(len(table), np.float32)

    def rows(self, ids: NDArray[np.uint16]) -> Floats:
        self._fill(ids)
        rows: Floats = self._rows.take(ids, axis=0)
        return rows

    def lengths(self, ids: NDArray[np.uint16]) -> Floats:
        """Of the codes before they were brought to length 1."""
        self._fill(ids)
        lengths: Floats = self._lengths[ids]
        return lengths

    def _fill(self, ids: NDArray[np.uint16]) -> None:
        new = ids[~self._known[ids]]
        if len(new):
            self._compute(np.unique(new))

    def _compute(self, ids: NDArray[np.uint16]) -> None:
        neurons = _TokenNeurons(self._table[ids])
        total = neurons.step()
        for _ in range(self.steps - 1):
            total += neurons.step()
        rows = self._readout(total)
        lengths = np.maximum(np.linalg.norm(rows, axis=1), 1e-12)
        self._lengths[ids] = lengths
        rows = rows @ self._directions
        rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        self._rows[ids] = rows
        self._known[ids] = True


def _principal(weight: Floats) -> Floats:
    """Return the directions, [out, `CODE_DIM`], in which a linear map [in, out] reaches furthest;
    all of them if there are no more. Which of the bases of their span does not matter."""
    _, directions = np.linalg.eigh(weight.T @ weight)
    return np.ascontiguousarray(directions[:, -CODE_DIM:], np.float32)


class _Neurons:
    """The membrane potentials of one block: ternary IF, soft reset, θ = q/2 = 1/2."""

    def __init__(self) -> None:
        self.u: Floats | None = None

    def step(self, current: Floats) -> Floats:
        """Add a current (it may be kept as the potential); return the step's spikes."""
        if self.u is None:
            self.u = current
        else:
            self.u += current
        spikes = np.rint(self.u)  # ± 1 from ± 1/2 on
        np.clip(spikes, -1, 1, out=spikes)
        self.u -= spikes
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
        config, tensors, digest = _load(folder)
        self._folder, self._config = folder, config
        self._digest = digest
        self.name = f"snn-{name}"
        self.dim = int(config["dim"])
        self.max_tokens = int(config["max_tokens"])
        self.timesteps = int(config["timesteps"])
        self._warned = False
        self._devices: dict[str, TorchEncoder] = {}
        self._tokenizer = load_tokenizer()
        self._unknown = int(self._tokenizer.token_to_id(_UNKNOWN) or 0)
        self._table: NDArray[np.int8] = tensors["table"]
        self._blocks = [_block(tensors, f"blocks.{i}") for i in range(int(config["blocks"]))]
        self._readouts = [
            _linear(tensors, f"readouts.{i}") for i in range(int(config["blocks"]) + 1)
        ]
        self._bias: Floats = tensors["bias"]
        self._codes: _TokenCodes | None = None
        if (
            self.dim != len(self._bias)
            or self.timesteps not in range(1, MAX_TIMESTEPS + 1)
            or self.max_tokens < 1
        ):
            raise ValueError("dim, timesteps or max_tokens is impossible")

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "small") -> SpikingEncoder:
        """Load packaged weights ("nano", "small") or a folder that `save_pretrained` wrote.

        "base" lies in the repository but not in the package, for its size: it loads in a clone.

        Raises:
            WeightsError: no such weights, or damaged ones, or of another format.
        """
        packaged = Path(__file__).parent / "weights" / str(name_or_path)
        folder = packaged if (packaged / "config.json").exists() else Path(name_or_path)
        try:
            return cls(folder, Path(name_or_path).name)
        except WeightsError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise WeightsError(
                f"{folder / 'config.json'} is damaged ({error!r}): reinstall the package or fetch "
                "the weights again."
            ) from error

    def save_pretrained(self, folder: str | Path) -> None:
        """Write configuration and weights into a folder; the vocabulary is the package's."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "model.safetensors"):
            (target / name).write_bytes((self._folder / name).read_bytes())

    @property
    def version(self) -> str:
        """Hash of the weights, steps and mode: vectors of unlike versions do not compare."""
        return f"{self._digest[:12]}-T{self.timesteps}-int8"

    def encode(
        self,
        texts: Sequence[str],
        timesteps: int | Literal["auto"] | None = None,
        batch_size: int = 64,
        device: str = "cpu",
    ) -> Floats:
        """Return float32 [n, dim], unit rows.

        Args:
            texts: any strings; an empty one counts as one unknown token.
            timesteps: T from 1 to 8, more being slower and better; "auto" stops each text when
                another step changes its vector by less than a cosine of `AGREEMENT`.
            batch_size: texts computed together; it changes speed and memory only.
            device: "cpu" runs numpy; any other device of torch's, such as "cuda", runs torch,
                whose vectors agree to a cosine of .9999.

        Raises:
            TypeError: a single string was given, or something that is no text.
            ValueError: T or the batch size is out of range, or "auto" was asked of a device.
            RuntimeError: a GPU was asked for and there is none.
        """
        if isinstance(texts, str):
            raise TypeError("encode takes a list of texts: pass [text].")
        steps = self.timesteps if timesteps is None else timesteps
        if steps != "auto" and steps not in range(1, MAX_TIMESTEPS + 1):
            raise ValueError(
                f'timesteps must be "auto" or a whole number between 1 and {MAX_TIMESTEPS}, '
                f"got {steps!r}."
            )
        if steps == "auto" and device != "cpu":
            raise ValueError('timesteps="auto" runs on the CPU only: give a number.')
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, got {batch_size}.")
        out = np.empty((len(texts), self.dim), dtype=np.float32)
        ids = self._tokenize(texts)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            part = [ids[i] for i in rows]
            if device != "cpu":
                out[rows] = self._on(device)(part, int(steps))
            elif steps == "auto":
                out[rows] = self._settled(_Batch(part))
            else:
                out[rows] = self._forward(_Batch(part), int(steps))
        return out

    @property
    def vocabulary(self) -> str:
        """Name and hash of the tokenizer's vocabulary."""
        return vocabulary()

    def token_ids(self, texts: Sequence[str]) -> list[NDArray[np.uint16]]:
        """Return the token ids of each text, uint16 [tokens], cut to `max_tokens`."""
        return [
            np.array(row[: self.max_tokens], np.uint16) for row in self._token_lists(list(texts))
        ]

    def token_codes(self, ids: NDArray[np.uint16]) -> Floats:
        """Return each token's own code, float32 [n, d], unit rows: its level-0 spike rates, read
        out as a sentence of this token alone would be, without blocks and bias, in the `CODE_DIM`
        directions that matter most.

        A code depends on the id alone, so each is computed once and kept (768 bytes a token).

        Raises:
            IndexError: an id that the vocabulary does not have.
        """
        return self._token_code_table().rows(ids)

    def token_weights(self, ids: NDArray[np.uint16]) -> Floats:
        """Return how strongly each token drives a sentence's vector, float32 [n]: the length of its
        code before it is brought to 1. Training has made it small for words that say little; the
        unknown token, which may be any word, says nothing."""
        weights: Floats = self._token_code_table().lengths(ids) * (ids != self._unknown)
        return weights

    def _token_code_table(self) -> _TokenCodes:
        codes = self._codes
        if codes is None or codes.steps != self.timesteps:
            with _one_at_a_time:  # threads that make it side by side take many times as long
                codes = self._codes
                if codes is None or codes.steps != self.timesteps:
                    codes = _TokenCodes(self._table, self._readouts[0], self.timesteps)
                    self._codes = codes
        return codes

    def _on(self, device: str) -> TorchEncoder:
        if device not in self._devices:
            from snn_encoder.restore import TorchEncoder

            self._devices[device] = TorchEncoder(self, device)
        return self._devices[device]

    def search(
        self, query: str, keys: Floats, k: int = 10, margin: float = MARGIN
    ) -> tuple[NDArray[np.intp], int]:
        """Return the k keys nearest to a query, best first, and the steps it took.

        It takes `FIRST` steps, and grows to the encoder's default T only where the margin is thin:
        where scores fall by less than `margin` from `REACH` ranks before the k-th key to `REACH`
        ranks after the next, so that another step may well bring others among the first k.

        Args:
            query: text.
            keys: unit rows [n, dim].
        """
        batch = _Batch(self._tokenize([query]))
        last = max(FIRST, self.timesteps)
        for t, (sums, _) in enumerate(self._steps(batch), start=1):
            if t not in (FIRST, last):
                continue
            scores = keys @ self._read(batch, sums, t)[0]
            order = np.argsort(-scores, kind="stable")[: k + 1 + REACH]
            if t == last or len(order) <= k:
                return order[:k], t
            if scores[order[max(0, k - 1 - REACH)]] - scores[order[-1]] >= margin:
                return order[:k], t
        raise AssertionError("unreachable: _steps has no end")

    def _token_lists(self, texts: list[str]) -> list[list[int]]:
        try:
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        except TypeError:
            texts = [_whole(text) for text in texts]
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        ids = [row or [self._unknown] for row in self._token_lists(list(texts))]
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

    def _steps(self, batch: _Batch) -> Iterator[tuple[list[Floats], list[Floats]]]:
        """Simulate without end; yield spike sums per sentence so far and this step's spikes.

        Both have one array a level. The sums are updated in place; the spikes of level 0 have
        one row per distinct token, the others one per token.
        """
        tokens = _TokenNeurons(self._table[batch.distinct])
        levels = [_Neurons() for _ in self._blocks]
        sums = [np.zeros((batch.size, r.weight.shape[0]), np.float32) for r in self._readouts]
        while True:
            spikes = tokens.step()
            fired = [spikes]
            total = batch.counts @ spikes
            sums[0] += total
            for index, (block, neurons) in enumerate(zip(self._blocks, levels, strict=True)):
                projected = spikes @ block.linear
                if index == 0:
                    projected = projected[batch.inverse]
                spikes = neurons.step(_current(projected, total, block, batch))
                fired.append(spikes)
                total = batch.sums(spikes)
                sums[index + 1] += total
            yield sums, fired

    def _read(self, batch: _Batch, sums: list[Floats], steps: int) -> Floats:
        """Return the unit vectors after some steps."""
        z: Floats = np.zeros((batch.size, self.dim), np.float32) + self._bias
        for readout, total in zip(self._readouts, sums, strict=True):
            z += readout(total) / (batch.lengths * steps)
        z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
        return z

    def _forward(self, batch: _Batch, steps: int) -> Floats:
        sums, _ = next(islice(self._steps(batch), steps - 1, None))
        return self._read(batch, sums, steps)

    def _settled(self, batch: _Batch) -> Floats:
        """Return each text's vector at the first step that hardly changed it."""
        out: Floats = np.zeros((batch.size, self.dim), np.float32)
        moving = np.ones(batch.size, dtype=bool)
        for t, (sums, _) in enumerate(islice(self._steps(batch), MAX_TIMESTEPS), start=1):
            z = self._read(batch, sums, t)
            agree = (z * out).sum(1) >= AGREEMENT
            out[moving] = z[moving]
            moving &= ~agree
            if not moving.any():
                break
        return out


def _whole(text: object) -> str:
    """Return a text whose halves of surrogate pairs, which no tokenizer takes, are replaced."""
    if not isinstance(text, str):
        raise TypeError(f"encode takes texts, got {type(text).__name__}.")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _current(projected: Floats, total: Floats, block: _Block, batch: _Batch) -> Floats:
    """Return a block's currents [N, channels] of one step (equations in snn_encoder.model)."""
    context = (total @ block.context.weight) * (block.context.scale / batch.lengths)
    context += block.context.bias
    gate, shift = np.split(context, 2, axis=1)
    gate = 2 / (1 + np.exp(-gate))
    shift = shift + block.bias * gate
    half = len(block.taps) // 2
    out: Floats = projected * block.taps[half]
    scratch = np.empty_like(out)
    for offset in range(1, half + 1):
        _add_tap(out, projected, block.taps[half - offset], -offset, batch, scratch)
        _add_tap(out, projected, block.taps[half + offset], offset, batch, scratch)
    start = 0
    for row, end in enumerate(batch.ends.tolist()):
        out[start:end] *= gate[row]
        out[start:end] += shift[row]
        start = end
    return out


def _add_tap(
    out: Floats, x: Floats, tap: Floats, offset: int, batch: _Batch, scratch: Floats
) -> None:
    """Add tap ⊙ x[i + offset] to every row i whose neighbour is in the same sentence."""
    count = len(x) - abs(offset)
    if count <= 0:
        return
    here, there = max(0, -offset), max(0, offset)
    part = np.multiply(x[there : there + count], tap, out=scratch[:count])
    apart = batch.segment[here : here + count] != batch.segment[there : there + count]
    part[apart] = 0
    out[here : here + count] += part


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
