"""Weights in whole numbers: as they are exported, and rounded so while they train.

In quantisation-aware training the forward pass sees the rounded weights and the gradient passes
to the real ones as if nothing had been rounded (straight through).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def whole_weights(weight: Tensor, bits: int = 8) -> tuple[Tensor, Tensor]:
    """Return whole numbers within ± (2^(bits − 1) − 1) and a scale per output of [out, in]."""
    scale = weight.abs().amax(1).clamp_min(1e-12) / ((1 << (bits - 1)) - 1)
    return (weight / scale[:, None]).round(), scale


def whole_currents(table: Tensor, bits: int = 8) -> Tensor:
    """Return table currents as whole numbers of 1 / 2^(bits − 1), cut towards zero.

    Training against firing leaves many currents just below 1 / 2T, the least that fires within T
    steps. In these units that is a whole number (up to T = 8 from 5 bits on, up to T = 4 with 4),
    so cutting moves no current across it, where rounding would. With 2 or 3 bits it is none, and
    cutting would silence too many: there they are rounded. Currents beyond ± 1 fire at every
    step all the same.
    """
    most = 1 << (bits - 1)
    currents = table.clamp(-1, 1) * most
    whole = currents.trunc() if bits >= 4 else currents.round()
    return whole.clamp(1 - most, most - 1)


class _StraightThrough(torch.autograd.Function):
    """The value of one tensor with the gradient of another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def rounded_weights(weight: Tensor, bits: int | None) -> Tensor:
    """Return a matrix [out, in] rounded to so many bits, straight through; None leaves it."""
    if bits is None:
        return weight
    whole, scale = whole_weights(weight.detach(), bits)
    out: Tensor = _StraightThrough.apply(weight, whole * scale[:, None])  # type: ignore[no-untyped-call]
    return out


def rounded_currents(table: Tensor, bits: int | None) -> Tensor:
    """Return currents rounded to so many bits, straight through; None leaves them."""
    if bits is None:
        return table
    value = whole_currents(table.detach(), bits) / (1 << (bits - 1))
    out: Tensor = _StraightThrough.apply(table, value)  # type: ignore[no-untyped-call]
    return out
