"""What every public method of a memory goes through."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from hymem.memory import HyMem

P = ParamSpec("P")
R = TypeVar("R")


def call(method: Callable[Concatenate[HyMem, P], R]) -> Callable[Concatenate[HyMem, P], R]:
    """``method``, refused once the memory is closing, which waits for it to end."""

    @functools.wraps(method)
    def under_way(self: HyMem, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._life.call():
            return method(self, *args, **kwargs)

    return under_way
