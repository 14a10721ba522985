"""Arguments of the public methods, checked: an ``InputError`` says what is accepted."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

from hymem.errors import InputError
from hymem.inputs.conditions import conditions
from hymem.system.clock import Clock, Time
from hymem.types import Budget, Config, Filter, GateMode, Scope

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def scope_of(user_id: str | None, agent_id: str | None) -> Scope:
    """The pair, each a string or ``None``."""
    check_name(user_id, "user_id")
    check_name(agent_id, "agent_id")
    return Scope(user_id, agent_id)


def scope_or_all(user_id: str | None, agent_id: str | None, all_scopes: bool) -> Scope | None:
    """The pair's scope, or ``None`` for all scopes, which are asked for by name only."""
    if not isinstance(all_scopes, bool):
        raise InputError(f"all_scopes is {all_scopes!r}; pass True or False")
    if not all_scopes:
        return scope_of(user_id, agent_id)
    if user_id is not None or agent_id is not None:
        raise InputError("all_scopes=True means every scope; give no user_id or agent_id with it")
    return None


def check_name(value: str | None, name: str) -> None:
    """``value`` is a string or ``None``."""
    if value is not None and not isinstance(value, str):
        raise InputError(f"{name} is {type(value).__name__}; pass a string")


def check_user(user_id: str) -> None:
    """``user_id`` is a string: what belongs to no user is removed scope by scope."""
    if not isinstance(user_id, str):
        raise InputError(
            f"user_id is {user_id!r}; pass a string (delete_all removes a scope without user_id)"
        )


def check_query(query: str, *, blank: bool = False) -> None:
    """``query`` is a string that is not blank, unless it may be."""
    if not isinstance(query, str) or not (blank or query.strip()):
        wanted = "" if blank else " with at least one character"
        raise InputError(f"the query must be a string{wanted}")


def check_positive(number: int, name: str) -> None:
    """``number`` is an ``int`` of at least 1."""
    check_count(number, name, least=1)


def check_count(number: int, name: str, *, least: int) -> None:
    """``number`` is an ``int`` of at least ``least`` that an index can hold."""
    whole = isinstance(number, int) and not isinstance(number, bool)
    if whole and number > sys.maxsize:
        raise InputError(f"{name} is too large a number; pass at most {sys.maxsize}")
    if not whole or number < least:
        raise InputError(f"{name} must be a whole number of at least {least}, not {number!r}")


def check_seconds(number: float, name: str) -> None:
    """``number`` is a length of time: more than 0, and not for ever."""
    plain = isinstance(number, (int, float)) and not isinstance(number, bool)
    if not plain or not 0 < number < math.inf:
        raise InputError(f"{name} must be a number of seconds above 0, not {number!r}")


def check_id(item_id: int) -> None:
    """``item_id`` is an ``int``; whether there is such an item the store knows."""
    if not isinstance(item_id, int) or isinstance(item_id, bool):
        raise InputError(f"item_id is {item_id!r}; pass the whole number that add or search gave")


def checked_vector(vector: Any) -> NDArray[np.float32] | None:
    """``vector`` as ``float32``; the store checks its shape."""
    import numpy as np

    if vector is None:
        return None
    try:
        return np.asarray(vector, np.float32)
    except (TypeError, ValueError):
        raise InputError(
            f"vector is {type(vector).__name__}; pass the encoder's numbers for the query"
        ) from None


def check_config(config: Config) -> None:
    """Numbers are at least 1, budgets are budgets, the gate is known and one tier is left on."""
    if not isinstance(config, Config):
        raise InputError(f"config is {type(config).__name__}; pass a hymem.Config")
    for name in ("k", "n", "max_rounds", "light_tokens", "deep_tokens"):
        check_positive(getattr(config, name), f"Config.{name}")
    check_budget(config.question_budget, "Config.question_budget")
    check_budget(config.scope_budget, "Config.scope_budget")
    if config.gate not in get_args(GateMode):
        raise InputError(f"Config.gate is {config.gate!r}; pass one of {get_args(GateMode)}")
    if not config.light and not config.deep:
        raise InputError("Config.light and Config.deep are both off; leave one tier on")


def check_path(path: str | os.PathLike[str]) -> None:
    """``path`` is a string or a ``Path``; a number would be taken for an open file."""
    if not isinstance(path, (str, os.PathLike)):
        raise InputError(f"path is {type(path).__name__}; pass a string or a pathlib.Path")
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        raise InputError(f"path is {os.fspath(path)!r}, which no file can be called") from None
    if b"\0" in name:
        raise InputError("path holds a NUL character; pass the path of a file")


def check_parts(**parts: tuple[object, type[Any]]) -> None:
    """Each of ``parts``, by name, is ``None`` or has what its protocol asks for."""
    for name, (part, protocol) in parts.items():
        if part is not None and not isinstance(part, protocol):
            raise InputError(
                f"{name} is {type(part).__name__}; pass an object with the methods of "
                f"hymem.{protocol.__name__}"
            )


def check_choice(value: str, name: str, choices: Sequence[str]) -> None:
    """``value`` is one of ``choices``."""
    if value not in choices:
        raise InputError(f"{name} is {value!r}; pass one of {', '.join(map(repr, choices))}")


def check_budget(budget: Budget | None, name: str = "budget") -> None:
    """``budget`` is a ``Budget`` of numbers from 0 on, or ``None``."""
    if budget is None:
        return
    if not isinstance(budget, Budget):
        raise InputError(f"{name} is {type(budget).__name__}; pass a hymem.Budget")
    for cap in (budget.tokens, budget.usd):
        number = isinstance(cap, (int, float)) and not isinstance(cap, bool)
        if cap is not None and not (number and 0 <= cap < math.inf):
            raise InputError(f"{name} holds {cap!r}; pass numbers from 0 on, or None for no cap")


def checked_filter(where: Filter | None, clock: Clock, as_of: Time | None = None) -> Filter | None:
    """``where`` with its times as ``datetime``, whatever form they were given in; a date alone is
    its whole day. ``as_of``, if given, stands for the filter's own."""
    if where is None and as_of is None:
        return None
    where = Filter() if where is None else where
    if not isinstance(where, Filter):
        raise InputError(f"where is {type(where).__name__}; pass a hymem.Filter")
    if where.kind not in (None, "turn", "unit"):
        raise InputError(f"where.kind is {where.kind!r}; pass 'turn', 'unit' or None")
    if not isinstance(where.metadata, Mapping):
        raise InputError(f"where.metadata is {type(where.metadata).__name__}; pass a dict")
    conditions(where.metadata)
    return replace(
        where,
        session_id=_sessions(where.session_id),
        after=clock.read_or_none(where.after, "where.after"),
        before=clock.read_or_none(where.before, "where.before", day_ends=True),
        as_of=clock.read_or_none(where.as_of if as_of is None else as_of, "as_of", day_ends=True),
    )


def asked_at(now: Time | None, where: Filter | None, clock: Clock) -> datetime:
    """When a question is asked: at ``now``, else at the moment that the checked filter looks back
    to, else at the clock's."""
    if now is None and where is not None:
        now = where.as_of
    return clock.read_or_now(now)


def _sessions(given: str | Collection[str] | None) -> str | tuple[str, ...] | None:
    if given is None or isinstance(given, str):
        return given
    if not isinstance(given, Collection) or not all(isinstance(name, str) for name in given):
        raise InputError(f"where.session_id is {given!r}; pass a string or a list of strings")
    return tuple(given)
