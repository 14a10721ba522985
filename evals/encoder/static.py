"""A tier's token table without spikes: what they cost or gain is the difference to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from snn_encoder import SpikingEncoder
from snn_encoder.simulation import Batch

_UNIT = 1 / 128  # of the table's currents


class StaticTable:
    """A float32 vector of each token, their mean, brought to length 1: a static embedding.

    A token's vector is what its current, as the weights hold it, would be read out as if spikes
    could say it exactly: what a spiking table tends to as T grows. Blocks are left out.

    Attributes:
        name: of the encoder whose table it is.
    """

    def __init__(self, encoder: SpikingEncoder) -> None:
        parameters = encoder.parameters
        readout = parameters.readouts[0]
        self.name = f"{encoder.name}, static table in float32"
        self._encoder = encoder
        self._rows = parameters.table.astype(np.float32) @ (readout.weight * readout.scale * _UNIT)
        self._rows += parameters.bias

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> NDArray[np.float32]:
        """Return float32 [n, dim], unit rows; texts are cut as the encoder cuts them."""
        ids = self._encoder._tokenize(texts)
        out = np.empty((len(ids), self._encoder.dim), np.float32)
        order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = Batch([ids[i] for i in rows])
            out[rows] = batch.counts @ self._rows[batch.distinct] / batch.lengths
        out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
        return out
