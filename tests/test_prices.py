"""What a call costs: prices by a model's name, the user's own, and none that nobody knows."""

from __future__ import annotations

import socket
from datetime import date
from typing import Any

import pytest

from hymem import HyMem
from hymem.cost.prices import Prices, is_local, source
from hymem.errors import InputError


def test_known_prices_come_from_the_table_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    prices = Prices()
    openai = "https://api.openai.com/v1/"
    for url in (None, openai):
        full = prices.usd("gpt-4.1-mini", url, 1_000_000, 1_000_000)
        assert full is not None
        assert 0 < full < 100
        cached = prices.usd("gpt-4.1-mini", url, 1_000_000, 1_000_000, 900_000)
        assert cached is not None
        assert cached < full
    assert (prices.usd("text-embedding-3-small", openai, 1_000_000) or 0) > 0
    table, day = source().split(" of ")
    assert table.startswith("genai-prices ")
    assert date(2026, 1, 1) < date.fromisoformat(day) <= date.today()


@pytest.mark.parametrize(
    ("model", "url"),
    [("no-such-model", None), ("no-such-model", "https://api.openai.com/v1"), ("gpt-4.1-mini", "https://llm.example.org/v1")],
)  # fmt: skip
def test_unknown_price_is_none_and_never_zero(model: str, url: str | None) -> None:
    assert Prices().usd(model, url, 1000, 1000) is None
    assert Prices({model: (1.0, 2.0)}).usd(model, url, 1000, 1000) == pytest.approx(0.003)


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://localhost:11434/v1", True),
        ("http://127.0.0.1:8000/v1", True),
        ("http://[::1]:8000/v1", True),
        ("http://10.0.0.7/v1", True),
        ("http://litellm:4000/v1", True),
        ("http://host.docker.internal/v1", True),
        ("https://api.openai.com/v1", False),
        ("https://8.8.8.8/v1", False),
        ("https://localhost.example.org/v1", False),
    ],
)
def test_nothing_is_free_unless_said_so(url: str, local: bool) -> None:
    assert is_local(url) is local
    assert Prices().usd("anything", url, 1000) is None
    assert Prices({"anything": (0, 0)}).usd("anything", url, 1000) == 0
    if local:  # it may be a proxy in front of the paid service
        paid = Prices().usd("gpt-4.1", None, 1000, 1000)
        assert paid
        for name in ("gpt-4.1", "openai/gpt-4.1"):
            assert Prices().usd(name, url, 1000, 1000) == paid
        assert Prices().usd("nobody/gpt-4.1", url, 1000, 1000) is None


@pytest.mark.parametrize(
    "price",
    [
        (-1, 0), (float("nan"), 0), (0, float("inf")), (1,), (1, 2, 3), 3, None, "ab", ("a", 1),
        "12", ("1", "2"), (1e308, 1e308), (10**400, 0), (True, False),
    ],
)  # fmt: skip
def test_a_price_that_is_none_is_refused(price: Any) -> None:
    with pytest.raises(InputError, match=r"prices\['m'\]"):
        Prices({"m": price})


def test_prices_that_are_no_dict_are_refused() -> None:
    with pytest.raises(InputError, match="prices is list"):
        HyMem(":memory:", prices=[("m", 1, 2)])  # type: ignore[arg-type]


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:8000/v1", "http://litellm:4000/v1"])
@pytest.mark.parametrize("model", ["google/gemma-3-27b-it", "github-copilot/gpt-4.1"])
def test_what_the_table_calls_free_has_no_known_price(model: str, url: str | None) -> None:
    assert Prices().usd(model, url, 1000, 1000) is None
    assert Prices({model: (0, 0)}).usd(model, url, 1000, 1000) == 0


def test_no_model_of_the_table_is_free_by_any_name() -> None:
    from genai_prices.data import providers

    prices, checked = Prices(), 0
    for provider in providers:
        for model in provider.models:
            checked += 1
            usd = prices.usd(f"{provider.id}/{model.id}", "http://127.0.0.1:1/v1", 1000, 1000)
            assert usd is None or usd > 0, model.id
    assert checked > 500
    assert prices.usd("gpt-4.1-mini", None, 0) == 0  # nothing sent, nothing paid
