"""Rate-based backpropagation (arXiv 2410.11488), and BPTT with the same interface.

Every layer has two methods. `steps` simulates time steps; `rates` is the one differentiable
pass on time averages, with slopes that the simulation left in a `Tape`::

    tape = Tape(snapshots=(2, 8))
    with torch.no_grad():
        layer.steps(currents, tape)          # [T, n, d], all at once (rate_M) …
    out = layer.rates(mean_currents, tape)   # [2, n, d], one row a snapshot
    loss(out).backward()                     # memory does not depend on T

`steps` may also be called once a step (rate_S): states stay in the tape. The time average of
the first t steps of a long run is the t-step model's rate, so snapshots at several t train
several step counts with one simulation. With gradients recorded and no eligibilities wanted,
`steps` is surrogate-gradient BPTT. There are no hooks and no global state: an exception leaves
nothing behind.

A map that does not commute with the time average (a product of two spike tensors) follows the
bilinear rule y = sg(mean_t A(s_t)) + A(r) − sg(A(r)). Where a neuron comes next, its rate is
re-anchored to the simulation anyway, so A(r) alone has the right value after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snn_encoder.network.dynamics import State
from snn_encoder.network.fusion import Fused
from snn_encoder.network.neurons import Neuron


@dataclass
class Tape:
    """What one simulation records.

    Attributes:
        snapshots: step counts whose prefix averages are wanted, ascending.
        eligible: record what the rate pass needs; False for BPTT and inference.
        states: a layer to its recorded state.
        layout: where sentences begin and end, for layers that need it.
    """

    snapshots: tuple[int, ...]
    eligible: bool = True
    layout: Any = None
    states: dict[nn.Module, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.snapshots or list(self.snapshots) != sorted(set(self.snapshots)):
            raise ValueError("snapshots must be ascending step counts, at least one.")
        if self.snapshots[0] < 1:
            raise ValueError("a snapshot is a number of steps, at least 1.")


def prefix_means(steps: Tensor, snapshots: Sequence[int]) -> Tensor:
    """Return the means of the first t steps, stacked over snapshots: [T, …] to [S, …]."""
    return torch.stack([steps[:t].mean(0) for t in snapshots])


class SpikingNeuron(nn.Module):
    """A `Neuron` as a layer: currents to spikes, mean currents to rates."""

    def __init__(self, neuron: Neuron) -> None:
        super().__init__()
        self.neuron = neuron

    def steps(self, x: Tensor, tape: Tape) -> Tensor:
        state: State | None = tape.states.get(self)
        spikes, tape.states[self] = self.neuron.run(x, state, tape.eligible, tape.snapshots)
        return spikes

    def rates(self, x: Tensor, tape: Tape) -> Tensor:
        state = tape.states[self]
        return torch.stack(
            [self.neuron.rate(row, state, t) for row, t in zip(x, tape.snapshots, strict=True)]
        )


@Fused
def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance over rows [n, d]; torch.var_mean takes several times as long."""
    mean = rows.mean(0)
    return mean, (rows - mean).square().mean(0)


@dataclass
class _Moments:
    """Running time averages of a batch norm's mean and reciprocal variance."""

    mean: Tensor
    reciprocal: Tensor
    t: int


class BatchNorm(nn.Module):
    """Batch normalisation over time and rows that stays exact in the rate pass.

    In training, one call of `steps` normalises by the joint statistics of its steps and rows
    (rate_M); calls of one step each normalise every step by its own, and the rate pass uses
    their average over time (rate_S, averaging as defined rather than the last step's). The
    rate pass takes the values of these statistics and the gradients of its own::

        m = sg(m_spk) + mean(x) − sg(mean(x))
        q = relu(sg(q_spk) + var_m(x) − sg(var_m(x))),   var_m(x) = mean((x − m)²)
        y = γ (x − m) / sqrt(q + ε) + β

    Running statistics (momentum as in torch) are updated by `steps` only. `frozen` uses them
    in training too, as evaluation does.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, gain: float = 1.0, eps: float = 1e-5, momentum: float = 0.05
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels,), gain))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.eps, self.momentum, self.frozen = eps, momentum, False

    @property
    def _fixed(self) -> bool:
        return self.frozen or not self.training

    def _affine(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        scale = self.weight * torch.rsqrt(var + self.eps)
        return scale, self.bias - mean * scale

    def step_affine(self, x: Tensor, tape: Tape) -> tuple[Tensor, Tensor]:
        """Return (scale, shift), each [channels], of y = scale x + shift for some steps."""
        if self._fixed:
            return self._affine(self.running_mean, self.running_var)
        mean, var = moments(x.flatten(0, -2))
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
            if tape.eligible:
                self._remember(mean, var, len(x), tape)
        return self._affine(mean, var)

    def _remember(self, mean: Tensor, var: Tensor, count: int, tape: Tape) -> None:
        reciprocal = 1 / (var + self.eps)
        old: _Moments | None = tape.states.get(self)
        if old is None:
            tape.states[self] = _Moments(mean, reciprocal, count)
            return
        t = old.t + count
        old.mean = old.mean + (mean - old.mean) * (count / t)
        old.reciprocal = old.reciprocal + (reciprocal - old.reciprocal) * (count / t)
        old.t = t

    def rate_affine(self, x: Tensor, tape: Tape) -> tuple[Tensor, Tensor]:
        """Return (scale, shift) of the rate pass."""
        if self._fixed:
            return self._affine(self.running_mean, self.running_var)
        moments: _Moments = tape.states[self]
        rows = x.flatten(0, -2)
        mean = rows.mean(0)
        mean = moments.mean + (mean - mean.detach())
        var = (rows - mean).square().mean(0)
        value = 1 / moments.reciprocal - self.eps
        return self._affine(mean, torch.relu(value + (var - var.detach())))

    def steps(self, x: Tensor, tape: Tape) -> Tensor:
        scale, shift = self.step_affine(x, tape)
        return torch.addcmul(shift, x, scale)

    def rates(self, x: Tensor, tape: Tape) -> Tensor:
        scale, shift = self.rate_affine(x, tape)
        return torch.addcmul(shift, x, scale)
