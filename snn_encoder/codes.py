"""Codes of single tokens: what each would say as a sentence of its own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snn_encoder.parameters import Floats, Linear
from snn_encoder.simulation import token_counts

CODE_DIM = 192  # of a token's code


class TokenCodes:
    """Codes of single tokens, computed when first asked for. Safe to use from several threads:
    whoever computes a row computes the same.

    They are kept in the readout's `CODE_DIM` principal directions, where looking at many of them
    takes half the time: a cosine changes by .006 (root mean square, `small`).
    """

    def __init__(self, table: NDArray[np.int8], readout: Linear, steps: int) -> None:
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
        rows = self._readout(token_counts(self._table[ids], self.steps))
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
