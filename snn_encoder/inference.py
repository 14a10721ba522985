"""`SpikingEncoder`, the face of the package: texts to vectors with numpy, at any number of steps.

`parameters` are its weights, `simulation` runs them, `codes` are its single tokens'.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from snn_encoder.codes import TokenCodes
from snn_encoder.parameters import MAX_TIMESTEPS, Floats, Parameters
from snn_encoder.simulation import Batch, read, spike_sums
from snn_encoder.tokenizer import load_tokenizer, vocabulary

if TYPE_CHECKING:
    from snn_encoder.network.restore import TorchEncoder

AGREEMENT = 0.99  # cosine of one step's vector to the next at which "auto" stops
FIRST = 2  # steps of a search whose margin is not thin
REACH = 3  # ranks to either side of the k-th between which that margin is measured
MARGIN = 0.024  # score between them at which a search stops
_UNKNOWN = "[UNK]"
_one_at_a_time = threading.Lock()


class SpikingEncoder:
    """Spiking sentence encoder: texts to unit vectors in all-MiniLM-L6-v2's space.

    Load one with `SpikingEncoder.from_pretrained`.

    Attributes:
        name: tier or folder it was loaded from.
        dim: length of its vectors.
        max_tokens: longer texts are cut here, with one warning.
        timesteps: T used when `encode` is given none.
        parameters: its weights.
    """

    def __init__(self, parameters: Parameters, name: str) -> None:
        self.parameters = parameters
        self.name = f"snn-{name}"
        self.dim = parameters.dim
        self.max_tokens = parameters.max_tokens
        self.timesteps = parameters.timesteps
        self._warned = False
        self._devices: dict[str, TorchEncoder] = {}
        self._tokenizer = load_tokenizer()
        self._unknown = int(self._tokenizer.token_to_id(_UNKNOWN) or 0)
        self._codes: TokenCodes | None = None

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path = "small") -> SpikingEncoder:
        """Load packaged weights ("nano", "small") or a folder that `save_pretrained` wrote.

        "base" lies in the repository but not in the package, for its size: it loads in a clone.

        Raises:
            WeightsError: no such weights, or damaged ones, or of another format.
        """
        packaged = Path(__file__).parent / "weights" / str(name_or_path)
        folder = packaged if (packaged / "config.json").exists() else Path(name_or_path)
        return cls(Parameters.load(folder), Path(name_or_path).name)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write configuration and weights into a folder; the vocabulary is the package's."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "model.safetensors"):
            (target / name).write_bytes((self.parameters.folder / name).read_bytes())

    @property
    def version(self) -> str:
        """Hash of the weights, steps and mode: vectors of unlike versions do not compare."""
        return f"{self.parameters.digest[:12]}-T{self.timesteps}-int8"

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
            timesteps: T from 1 to 8; more steps are finer, with blocks slower, and not always
                better (results/README.md). "auto" stops each text when another step changes its
                vector by less than a cosine of `AGREEMENT`.
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
        count = self.timesteps if timesteps is None else timesteps
        if count != "auto" and count not in range(1, MAX_TIMESTEPS + 1):
            raise ValueError(
                f'timesteps must be "auto" or a whole number between 1 and {MAX_TIMESTEPS}, '
                f"got {count!r}."
            )
        if count == "auto" and device != "cpu":
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
                out[rows] = self._on(device)(part, int(count))
            elif count == "auto":
                out[rows] = self._settled(Batch(part))
            else:
                out[rows] = self._forward(Batch(part), int(count))
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

    def _token_code_table(self) -> TokenCodes:
        codes = self._codes
        if codes is None or codes.steps != self.timesteps:
            with _one_at_a_time:  # threads that make it side by side take many times as long
                codes = self._codes
                if codes is None or codes.steps != self.timesteps:
                    codes = self._codes = TokenCodes(
                        self.parameters.table, self.parameters.readouts[0], self.timesteps
                    )
        return codes

    def _on(self, device: str) -> TorchEncoder:
        if device not in self._devices:
            from snn_encoder.network.restore import TorchEncoder

            self._devices[device] = TorchEncoder(self.parameters, device)
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
        batch = Batch(self._tokenize([query]))
        last = max(FIRST, self.timesteps)
        for t, sums in spike_sums(self.parameters, batch, {FIRST, last}):
            scores = keys @ read(self.parameters, batch, sums, t)[0]
            order = np.argsort(-scores, kind="stable")[: k + 1 + REACH]
            if t == last or len(order) <= k:
                return order[:k], t
            if scores[order[max(0, k - 1 - REACH)]] - scores[order[-1]] >= margin:
                return order[:k], t
        raise AssertionError("unreachable: the last step returns")

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

    def _forward(self, batch: Batch, timesteps: int) -> Floats:
        _, sums = next(spike_sums(self.parameters, batch, {timesteps}))
        return read(self.parameters, batch, sums, timesteps)

    def _settled(self, batch: Batch) -> Floats:
        """Return each text's vector at the first step that hardly changed it."""
        out: Floats = np.zeros((batch.size, self.dim), np.float32)
        moving = np.ones(batch.size, dtype=bool)
        for t, sums in spike_sums(self.parameters, batch, range(1, MAX_TIMESTEPS + 1)):
            z = read(self.parameters, batch, sums, t)
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
