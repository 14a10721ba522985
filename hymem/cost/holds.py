"""What calls under way may still spend, so that calls side by side pass no cap together."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from hymem.system import forks
from hymem.types import Scope, StageUsage

# The reply that a stage's first call is held to bring; later ones, what they brought on average.
FIRST_REPLY = 2_000


@dataclass(frozen=True, slots=True, eq=False)
class Hold:
    """One call under way, of a request on behalf of a scope, and what it is expected to take."""

    request: object
    scope: Scope | None
    tokens: int
    usd: float


class Holds:
    """The calls under way of one ledger. ``lock`` is to be held from the look at what is left to
    the hold on a part of it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._held: set[Hold] = set()
        self._so_far: dict[str, StageUsage] = {}
        forks.watch(self)

    def after_fork(self, calm: bool) -> None:
        """The calls are the parent's."""
        self.lock = threading.RLock()
        self._held = set()

    def add(self, hold: Hold) -> None:
        with self.lock:
            self._held.add(hold)

    def remove(self, hold: Hold) -> None:
        with self.lock:
            self._held.discard(hold)

    def of_request(self, request: object) -> list[Hold]:
        with self.lock:
            return [hold for hold in self._held if hold.request is request]

    def of_scope(self, scope: Scope) -> list[Hold]:
        with self.lock:
            return [hold for hold in self._held if hold.scope == scope]

    def learn(self, stage: str, usage: StageUsage) -> None:
        """Take a call that has ended into the stage's average."""
        with self.lock:
            self._so_far[stage] = self._so_far.get(stage, StageUsage()) + usage

    def expected(self, stage: str, tokens: int) -> tuple[int, int]:
        """Tokens in and out of a call of ``stage`` that sends about ``tokens``."""
        known = self._so_far.get(stage)
        if known is None:
            return tokens, FIRST_REPLY
        return max(tokens, known.input_tokens // known.calls), known.output_tokens // known.calls
