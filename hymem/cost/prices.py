"""Dollars for tokens: prices that the user gives, else those of the ``genai-prices`` package.

The package carries its table with it and asks no network. A price that changed over time is the one
of the day of the call.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import date
from typing import Any
from urllib.parse import urlsplit

from hymem.errors import InputError

MILLION = 1_000_000
# Dollars per million tokens. No model costs a dollar a token; sums stay finite.
DEAREST = 1_000_000


class Prices:
    """``own``: dollars per million tokens, ``{"my-model": (input, output)}``; they win. A model
    that costs nothing is said to: ``{"my-model": (0, 0)}``.

    An address on this machine or in a private network may be a proxy in front of a paid service, so
    a model there has the price that the table gives for its name. At an address of the internet the
    price is that of the provider whom the address belongs to. What the table does not know has no
    known price, and neither has what it calls free: free tiers end, and a proxy may sell the model.

    Raises ``InputError`` when a price is not a pair of numbers from 0 to ``DEAREST``.
    """

    def __init__(self, own: Mapping[str, tuple[float, float]] | None = None) -> None:
        check_prices(own)
        self._own = dict(own or {})

    def usd(
        self,
        model: str,
        base_url: str | None,
        input_tokens: int,
        output_tokens: int = 0,
        cached_tokens: int = 0,
    ) -> float | None:
        """What a call costs; ``None`` if the price is unknown, never 0 for want of knowledge.

        ``cached_tokens`` are those of ``input_tokens`` that the endpoint read from its cache.
        """
        if model in self._own:
            price_in, price_out = self._own[model]
            return (input_tokens * price_in + output_tokens * price_out) / MILLION
        where: dict[str, Any] = {}
        if base_url is not None and not is_local(base_url):
            where = {"provider_api_url": base_url}
        elif "/" in model:  # as proxies write it: openai/gpt-4.1
            provider, model = model.split("/", 1)
            where = {"provider_id": provider}
        return _table(model, where, input_tokens, output_tokens, cached_tokens)


def check_prices(own: Mapping[str, Any] | None) -> None:
    """Every price is a pair of numbers from 0 to ``DEAREST``."""
    if own is not None and not isinstance(own, Mapping):
        raise InputError(f"prices is {type(own).__name__}; pass a dict of models and their prices")
    for model, price in (own or {}).items():
        pair = isinstance(price, (tuple, list)) and len(price) == 2
        if not pair or not all(_is_price(one) for one in price):
            raise InputError(
                f"prices[{model!r}] is {price!r}; pass (input, output) in dollars per million "
                f"tokens, each a number up to {DEAREST:,}, (0, 0) for a model that costs nothing"
            )


def _is_price(one: Any) -> bool:
    return isinstance(one, (int, float)) and not isinstance(one, bool) and 0 <= one <= DEAREST


def source() -> str:
    """The price table, its version and its date, such as ``genai-prices 0.2.3 of 2026-10-14``.

    The table itself is not dated: the date is that of its newest change of a price.
    """
    from importlib.metadata import version

    return f"genai-prices {version('genai-prices')} of {_newest_change().isoformat()}"


def _newest_change() -> date:
    from genai_prices.data import providers

    changes = (
        getattr(price.constraint, "start_date", None)
        for provider in providers
        for model in provider.models
        if isinstance(model.prices, list)
        for price in model.prices
    )
    latest: date = max(day for day in changes if day is not None and day <= date.today())
    return latest


def is_local(base_url: str) -> bool:
    """Whether the address is on this machine or in a private network."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))


def _table(
    model: str,
    where: Mapping[str, Any],
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int,
) -> float | None:
    """The table's price; ``None`` where it has none, or calls the model free. ``where``: what
    ``genai_prices`` is told of the provider."""
    from genai_prices import Usage, calc_price

    def price(usage: Usage) -> float:
        return float(calc_price(usage, model, **where).total_price)

    # Negative remainders would raise: some endpoints count cached tokens apart from the input.
    usage = Usage(
        input_tokens=max(input_tokens, cached_tokens),
        output_tokens=output_tokens,
        cache_read_tokens=cached_tokens,
    )
    try:
        found = price(usage)
        free = found == 0 and price(Usage(input_tokens=MILLION, output_tokens=MILLION)) == 0
    except LookupError:
        return None
    return None if free else found
