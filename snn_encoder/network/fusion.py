"""Fusing chains of small tensor operations that would each go through memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")

_enabled = False


def enable() -> None:
    """Compile fused functions from now on; needs a C++ compiler, and pays in training only.

    About ten times as fast on a CPU for the neurons' loop over time steps.
    """
    global _enabled
    _enabled = True
    dynamo: Any = torch._dynamo
    dynamo.config.specialize_int = True
    dynamo.config.recompile_limit = 64  # one variant a number of steps and kind of pass


class Fused(Generic[P, R]):
    """A function that is compiled once fusion is enabled, where no gradient is recorded."""

    def __init__(self, function: Callable[P, R]) -> None:
        self.plain = function
        self.__doc__ = function.__doc__
        self._compiled: Callable[P, R] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if not _enabled or torch.is_grad_enabled():
            return self.plain(*args, **kwargs)
        if self._compiled is None:
            self._compiled = torch.compile(self.plain)
        return self._compiled(*args, **kwargs)
