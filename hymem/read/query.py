"""A question on its way down the read path."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from hymem.types import Filter, Scope

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import AskedTokens


# Turns on either side of a candidate that a block may hold too: what stands around a good match may
# hold what it speaks of.
RADIUS = 2


def _now() -> datetime:
    return datetime.now().astimezone()


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked, of whom and when; made once, of checked parts.

    ``text`` is asked of the memories of ``scope`` that ``where`` lets through. ``now``, aware, is
    what "last week" in it counts from. ``vector``: ``float32[dim]``, the text's own, where the
    caller has it. ``Retriever.encoded`` fills in what is missing, ``tokens`` too, and sets
    ``encoded``; an encoder that is down leaves ``vector`` ``None``.
    """

    scope: Scope
    text: str
    now: datetime = field(default_factory=_now)
    where: Filter | None = None
    vector: NDArray[np.float32] | None = None
    tokens: AskedTokens | None = None
    encoded: bool = False

    @property
    def as_of(self) -> datetime | None:
        """The moment whose memory is asked for, if it is not the present."""
        return self.where.as_of if self.where else None

    def reworded(self, text: str) -> Query:
        """The same with another text, not yet encoded."""
        return self if text == self.text else Query(self.scope, text, self.now, self.where)

    def of(self, where: Filter | None) -> Query:
        """The same of what ``where`` lets through."""
        return replace(self, where=where)
