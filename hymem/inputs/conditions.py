"""Conditions on metadata, as ``Filter.metadata`` gives them.

Each key is given either the value itself, ``{"channel": "web"}``, or a dict of operators, all of
which must hold: ``{"year": {"gte": 2020, "lt": 2024}, "tag": {"in": ["work", "home"]}}``.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hymem.errors import InputError

Test = Callable[[Any], bool]


def _equal(wanted: Any) -> Test:
    """JSON's equality: ``true`` is not 1."""
    truth = isinstance(wanted, bool)
    return lambda held: held == wanted and (held.__class__ is bool) is truth


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any], Test]:
    """Numbers are compared with numbers, strings with strings; nothing else has an order."""

    def test(wanted: Any) -> Test:
        classes = (str,) if isinstance(wanted, str) else (int, float)
        return lambda held: held.__class__ in classes and compare(held, wanted)

    return test


def _among(wanted: Sequence[Any]) -> Test:
    simple = {(one.__class__ is bool, one) for one in wanted if not isinstance(one, (list, dict))}
    nested = [one for one in wanted if isinstance(one, (list, dict))]
    return lambda held: (
        held in nested
        if held.__class__ in (list, dict)
        else (held.__class__ is bool, held) in simple
    )


def _containing(wanted: Any) -> Test:
    equal = _equal(wanted)
    return lambda held: held.__class__ is list and any(map(equal, held))


_HOLDS: dict[str, Callable[[Any], Test]] = {
    "eq": _equal,
    "gt": _ordered(operator.gt),
    "gte": _ordered(operator.ge),
    "lt": _ordered(operator.lt),
    "lte": _ordered(operator.le),
    "in": _among,
    "contains": _containing,
}
_DENIES = {"ne": _equal, "nin": _among}
OPERATORS = (*_HOLDS, *_DENIES)


@dataclass(frozen=True, slots=True)
class Condition:
    """What is asked of one key. Of the values that an item has there (a unit has those of all the
    turns it rests on), one must pass every test of ``holds``, and none any test of ``denies``.
    The tests take values as JSON gives them."""

    key: str
    holds: tuple[Test, ...]
    denies: tuple[Test, ...]

    def met_by(self, values: Collection[Any]) -> bool:
        """Whether an item with these values is let through."""
        if self.holds and not any(all(test(value) for test in self.holds) for value in values):
            return False
        return not any(test(value) for test in self.denies for value in values)


def conditions(metadata: Mapping[str, Any]) -> tuple[Condition, ...]:
    """One for each key. Raises ``InputError`` naming the key and what is accepted."""
    return tuple(_condition(key, wanted) for key, wanted in metadata.items())


def met(wanted: Sequence[Condition], held: Sequence[Mapping[str, Any]]) -> bool:
    """Whether an item is let through whose own metadata, and that of the turns it rests on, are
    ``held``."""
    return all(one.met_by([item[one.key] for item in held if one.key in item]) for one in wanted)


def _condition(key: str, wanted: Any) -> Condition:
    where = f"where.metadata[{key!r}]"
    if not isinstance(key, str):
        raise InputError(f"where.metadata has the key {key!r}; keys are strings")
    given = wanted if isinstance(wanted, Mapping) else {"eq": wanted}
    if not given or not given.keys() <= {*OPERATORS}:
        raise InputError(
            f"{where} is {wanted!r}; pass a value, or a dict of operators out of "
            f"{', '.join(OPERATORS)} (a value that is a dict itself: {{'eq': …}})"
        )
    holds, denies = [], []
    for name, value in given.items():
        plain = _operand(name, value, f"{where}[{name!r}]" if wanted is given else where)
        if name in _HOLDS:
            holds.append(_HOLDS[name](plain))
        else:
            denies.append(_DENIES[name](plain))
    return Condition(key, tuple(holds), tuple(denies))


def _operand(name: str, value: Any, where: str) -> Any:
    """``value`` as it is after a way through JSON, like the values that it is compared with."""
    if name in ("in", "nin"):
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Collection):
            raise InputError(f"{where} is {value!r}; pass a list of values")
        value = list(value)
    ordered = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    if name in ("gt", "gte", "lt", "lte") and not ordered:
        raise InputError(f"{where} is {value!r}; pass a number or a string (a time as ISO 8601)")
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} is no JSON value: {error}") from None
