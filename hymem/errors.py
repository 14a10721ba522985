"""The exceptions HyMem raises, one tree: ``except HyMemError`` catches them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hymem.types import Completion


class HyMemError(Exception):
    """Base class of every error that HyMem raises on purpose.

    ``hint``: what may stand in a log: in HyMem's own words, while the message may quote others',
    and with them a conversation.
    """

    hint: str = ""


class InputError(HyMemError, ValueError):
    """An argument is malformed; the message says which and what is accepted."""


class NotFoundError(HyMemError, KeyError):
    """No turn or unit with this id exists in this scope."""

    def __str__(self) -> str:  # KeyError would show the message in quotes
        return str(self.args[0]) if self.args else ""


class StoreError(HyMemError):
    """The store cannot be read or written (full disk, read-only file, damaged database)."""


class StoreClosedError(StoreError):
    """The memory was closed, by this thread or another; open it again to go on."""

    def __init__(self) -> None:
        super().__init__("the memory is closed; open it again")


class SaidMeanwhileError(StoreError):
    """Somebody else has added a message with the same id since it was looked up."""


class StoreVersionError(StoreError):
    """The database was written by a newer HyMem, or is not a HyMem database. It is untouched."""


class EncoderMismatchError(StoreError):
    """The store's vectors come from another encoder; the message names the re-embedding command."""


class EncoderError(HyMemError):
    """An encoder could not be loaded or did not return one unit vector per text."""


class LLMError(HyMemError):
    """A model call failed for good: every retry was spent, or retrying cannot help.

    ``spent`` is a ``Completion`` with the tokens that the failed attempts cost all the same, for
    the ledger to count; ``None`` if nothing is known to have been spent. ``down``: the endpoint
    itself failed (no connection, no reply in time, 401, 429, 5xx), so any other request would too.
    """

    def __init__(
        self,
        message: str,
        spent: Completion | None = None,
        *,
        down: bool = False,
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.spent = spent
        self.down = down
        self.hint = hint


class LLMOutputError(LLMError):
    """The model answered, but not in the form asked for, after repair and retries."""


class PriceError(HyMemError):
    """A dollar budget was set for a model whose price is unknown."""


class BudgetError(HyMemError):
    """A model was not called, because the call would pass a budget."""
