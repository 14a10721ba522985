"""Messages that are sent again under an id that the memory knows.

Chat clients send whole histories again, so a text that an id has, or once had, is a repetition and
means nothing. Another text is new; what becomes of it is the application's choice:

``ignore``: the memory stays as it is, and a warning is logged. ``update``: the text is replaced, as
by ``HyMem.update``. ``error``: nothing of the list is saved.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from hymem.errors import InputError
from hymem.inputs.messages import Said
from hymem.types import Turn

log = logging.getLogger(__name__)

OnKnown = Literal["ignore", "update", "error"]


def source_ids(said: Sequence[Said]) -> list[str]:
    """The ids of the messages that have one."""
    return [one.source_id for one in said if one.source_id is not None]


def resent(
    said: Sequence[Said], known: Mapping[str, tuple[Turn, Sequence[str]]], on_known: OnKnown
) -> tuple[Sequence[Said], list[tuple[Turn, str]]]:
    """The messages to add, and the turns to update with their new texts. ``known``: by id, turns
    with every text that they have or had. Raises ``InputError``."""
    new = _new_texts(said, known)
    if not new or on_known == "ignore":
        if new:
            log.warning(
                "%d messages came with a known id and a new text, which is not kept; pass "
                "on_known='update' to keep it, or on_known='error' to refuse it",
                len(new),
            )
        return said, []
    if on_known == "error":
        raise InputError(
            f"the message with the id {next(iter(new))!r} came before with another text; pass "
            "on_known='update' to replace that, or give the message an id of its own"
        )
    # Of one id several times in the list, the last text takes the place of the first.
    latest = [
        replace(one, text=new[one.source_id]) if one.source_id in new else one for one in said
    ]
    return latest, [(known[source][0], text) for source, text in new.items() if source in known]


def _new_texts(
    said: Sequence[Said], known: Mapping[str, tuple[Turn, Sequence[str]]]
) -> dict[str, str]:
    """By id, the last text that it never had."""
    had = {source: {*texts} for source, (_, texts) in known.items()}
    new: dict[str, str] = {}
    for one in said:
        if one.source_id is not None and one.text not in had.setdefault(one.source_id, {one.text}):
            new[one.source_id] = one.text
    return new
