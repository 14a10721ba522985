"""When what failed is tried again: later and later, and not for ever."""

from __future__ import annotations

import threading
import time

from hymem.errors import BudgetError, LLMError, PriceError

FIRST_SECONDS = 15.0
LONGEST_SECONDS = 3600.0
# Together about four and a half hours.
MOST_ATTEMPTS = 8


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row, at least one: 15, 60, 240, 960, 3600 …"""
    return min(FIRST_SECONDS * 4.0 ** min(failures - 1, 10), LONGEST_SECONDS)


def event_pause(attempts: int, error: Exception) -> float | None:
    """Seconds until an event that ``attempts`` have failed on may be tried again; ``None``: not by
    itself. An endpoint that is down and a budget that is spent are not the event's fault, and cost
    nothing to find out, so for them there is no last attempt."""
    blameless = is_down(error) or isinstance(error, (BudgetError, PriceError))
    return pause_after(attempts) if blameless or attempts < MOST_ATTEMPTS else None


def is_down(error: object) -> bool:
    """Whether the model's endpoint itself failed."""
    return isinstance(error, LLMError) and error.down


class Outage:
    """Whether a model's endpoint is down. A single event that finds it so may itself be at fault;
    where two in a row do, the endpoint is."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def note(self, down: bool) -> None:
        self._in_a_row = self._in_a_row + 1 if down else 0

    @property
    def certain(self) -> bool:
        return self._in_a_row > 1


class Patience:
    """So many seconds to wait in all; what several threads wait at once counts once."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._counted = 0.0  # up to this time, on the monotonic clock
        self._lock = threading.Lock()

    def wait(self, seconds: float) -> bool:
        """Wait, unless patience is at its end."""
        with self._lock:
            if self._left <= 0:
                return False
            now = time.monotonic()
            self._left -= now + seconds - max(now, self._counted)
            self._counted = now + seconds
        time.sleep(seconds)
        return True


class Pause:
    """How long to leave an endpoint alone that failed, within one process."""

    def __init__(self) -> None:
        self._failures = 0
        self.until: float | None = None  # on the monotonic clock; ``None`` if it did not fail

    @property
    def over(self) -> bool:
        return self.until is None or time.monotonic() >= self.until

    def note(self, failed: bool) -> None:
        self._failures = self._failures + 1 if failed else 0
        self.until = time.monotonic() + pause_after(self._failures) if failed else None
