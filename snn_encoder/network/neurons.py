"""A population of spiking neurons as a module: its simulation, and its rates with slopes."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from snn_encoder.network.dynamics import Fire, NeuronConfig, State, hard_spike, simulate


class _Anchored(torch.autograd.Function):
    """sg(rate) + eligibility (x − sg(x)): one value, another slope."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: Tensor, eligibility: Tensor) -> Tensor:
        ctx.save_for_backward(eligibility)
        return rate.view_as(rate)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (eligibility,) = ctx.saved_tensors
        return grads[0] * eligibility, None, None


@cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def in_kernels_reach(currents: Tensor) -> bool:
    """Return whether `kernels.simulate` may run: float32 on CUDA, Triton there, no gradients."""
    wanted = currents.is_cuda and currents.dtype == torch.float32 and not torch.is_grad_enabled()
    return wanted and _has_triton()


class Neuron(nn.Module):
    """A population of spiking neurons with the two passes of rate-based backpropagation.

    `run` simulates steps (surrogate gradients flow when autograd records them, which is the
    BPTT reference); `rate` is the differentiable pass on time averages.

    Args:
        channels: size of the last dimension.
        config: constants.
    """

    def __init__(self, channels: int, config: NeuronConfig) -> None:
        super().__init__()
        self.channels = channels
        self.config = config
        self.spike: Fire = hard_spike
        self.leak_logit: nn.Parameter | None = None
        if config.learn_leak:
            start = min(config.leak, 0.99)
            self.leak_logit = nn.Parameter(
                torch.full((channels,), start).logit() if 0 < start < 1 else torch.zeros(channels)
            )

    @property
    def leak(self) -> float | Tensor:
        """λ: a number, or a tensor [channels] when it is learnable."""
        return self.config.leak if self.leak_logit is None else self.leak_logit.sigmoid()

    def start(self, current: Tensor) -> State:
        """Return the state before the first step for a current of one step, [..., channels]."""
        v = torch.full_like(current, self.config.initial)
        if self.training and self.config.perturbation:
            v = v + torch.empty_like(v).uniform_(-1, 1) * self.config.perturbation
        return State(v=v)

    def run(
        self,
        currents: Tensor,
        state: State | None = None,
        eligible: bool = False,
        snapshots: Sequence[int] = (),
    ) -> tuple[Tensor, State]:
        """Simulate currents [T, ..., channels]; return (spikes of that shape, last state).

        Args:
            currents: float32 (half-precision input is widened: potentials need the bits).
            state: where an earlier call ended, None to start.
            eligible: also keep running rates and eligibilities (no gradient flows then).
            snapshots: step counts at which (rate, eligibility) are copied into the state.
        """
        if currents.dtype in (torch.float16, torch.bfloat16):
            currents = currents.float()
        state = state or self.start(currents[0])
        leak = self.leak
        if eligible and isinstance(leak, Tensor):
            leak = leak.detach()
        spikes = self._simulate(currents, state, leak, eligible, tuple(snapshots))
        return spikes, state

    def _simulate(
        self,
        currents: Tensor,
        state: State,
        leak: float | Tensor,
        eligible: bool,
        snapshots: tuple[int, ...],
    ) -> Tensor:
        if self.spike is hard_spike and in_kernels_reach(currents):
            from snn_encoder.network import kernels

            if kernels.serves(self.config, state.t + len(currents)):
                return kernels.simulate(currents, state, self.config, eligible, snapshots)
        return simulate(currents, state, leak, self.config, self.spike, eligible, snapshots)

    def rate(self, current: Tensor, state: State, snapshot: int) -> Tensor:
        """Return the firing rate for the mean current up to a snapshot (docs/methods.md, rates).

        The value is the simulated rate; its slope in `current` is the eligibility.
        """
        rate, eligibility, leak_eligibility = state.snapshots[snapshot]
        out: Tensor = _Anchored.apply(current, rate, eligibility)  # type: ignore[no-untyped-call]
        leak = self.leak
        if leak_eligibility is not None and isinstance(leak, Tensor):
            out = out + leak_eligibility * (leak - leak.detach())
        return out
