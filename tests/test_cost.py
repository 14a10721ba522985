"""The ledger against a real store and a real endpoint: every token counted, every cap kept."""

from __future__ import annotations

import asyncio
import gc
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from openai_server import Drop, Fail, OpenAIServer, Say
from pydantic import BaseModel

from hymem import HyMem
from hymem.cost.ledger import Ledger
from hymem.errors import BudgetError, InputError, LLMError, LLMOutputError, PriceError
from hymem.llm.openai import OpenAIChat
from hymem.llm.structured import Reply, converse
from hymem.stores.sqlite import SQLiteStore
from hymem.stores.tables.names import make_scope
from hymem.types import (
    LLM,
    Budget,
    CallCounter,
    Completion,
    Config,
    Scope,
    Statement,
    Turn,
)

ASK = [{"role": "user", "content": "Where does Ana live these days?"}]
ANA, BEN = Scope("ana"), Scope("ben")
PRICES = {"test-model": (1.0, 4.0)}


@pytest.fixture
def store() -> Iterator[SQLiteStore]:
    with SQLiteStore(":memory:", encoder_name="none", encoder_version="1", dim=4) as opened:
        yield opened


@pytest.fixture
def llm(server: OpenAIServer) -> OpenAIChat:
    return OpenAIChat("test-model", base_url=server.url, max_retries=1)


@pytest.mark.parametrize("cap", [float("nan"), float("inf"), -1, -0.5, "5", True, 10**400 * -1])
def test_a_cap_that_is_none_is_refused(cap: Any) -> None:
    for budget in (Budget(tokens=cap), Budget(usd=cap)):
        for config in (Config(scope_budget=budget), Config(question_budget=budget)):
            with pytest.raises(InputError, match="_budget holds"):
                HyMem(":memory:", config=config)
        with HyMem(":memory:") as memory, pytest.raises(InputError, match="budget holds"):
            memory.ask("Where?", budget=budget)


def test_a_proxy_in_front_of_a_paid_model_passes_no_cap(
    server: OpenAIServer, store: SQLiteStore
) -> None:
    proxy = OpenAIChat("gpt-4.1", base_url=server.url)
    meter = Ledger(store).meter(ANA, scope_budget=Budget(usd=0.0))
    with pytest.raises(BudgetError):
        meter.llm(proxy, "light").complete(ASK)
    free = Ledger(store, {"gpt-4.1": (0, 0)}).meter(ANA, scope_budget=Budget(usd=0.0))
    assert free.llm(proxy, "light").complete(ASK).value == "ok"
    assert server.calls == 1


class Reports:
    """A model that reports its tokens in its own way."""

    model = "test-model"

    def __init__(self, *counts: Any) -> None:
        self._done = Completion("In Lyon.", "In Lyon.", self.model, *counts)

    def complete(self, messages: Any, schema: Any = None) -> Completion:
        return self._done

    def stream(self, messages: Any) -> Iterator[str | Completion]:
        yield "In Lyon."
        yield self._done


@pytest.mark.parametrize("odd", [0, -50_000, 10**30, 12.5, float("nan"), "many", None, True, [1]])
def test_tokens_that_cannot_be_are_estimated_and_lift_no_cap(odd: Any, store: SQLiteStore) -> None:
    meter = Ledger(store, PRICES).meter(ANA)
    llm = meter.llm(Reports(odd, odd, odd), "light")
    llm.complete(ASK)
    list(llm.stream(ASK))
    usage = meter.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (14, 6, 0)
    assert usage.estimated
    (row,) = Ledger(store, PRICES).costs(ANA)
    assert (row["input_tokens"], row["usd"]) == (14, usage.usd)


@pytest.mark.parametrize(
    ("reported", "counted"),
    [
        ((0, 4, 0), (7, 4, 0)),
        ((9, 0, 2), (9, 3, 2)),
        ((1_000, 4, 10**9 - 1), (1_000, 4, 1_000)),
        ((2, 4, 5), (7, 4, 5)),  # counted apart from the input
    ],
)
def test_what_contradicts_itself_is_estimated(
    reported: tuple[int, int, int], counted: tuple[int, int, int], store: SQLiteStore
) -> None:
    meter = Ledger(store, PRICES).meter(ANA)
    meter.llm(Reports(*reported), "light").complete(ASK)
    usage = meter.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == counted
    assert usage.estimated


@pytest.mark.parametrize("usage", [(0, 0, 0), (0, 3, 0), (9, 0, 0)])
def test_a_correction_whose_tokens_are_not_told_is_estimated_too(
    usage: tuple[int, int, int],
) -> None:
    told = [Reply("", "length", "m", 9, 0, 0), Reply("no", "length", "m", *usage)]
    replies = iter([*told, Reply("Rome.", "stop", "m", 9, 4, 0)])
    spent = converse(lambda _: next(replies), ASK, None)
    assert None in (spent.input_tokens, spent.output_tokens)


SECRET = "sk-very-secret-key-123456"


class Anything:
    """A model of somebody's own: raises or returns ``what``."""

    model = "own"

    def __init__(self, what: Any) -> None:
        self._what = what

    def complete(self, messages: Any, schema: Any = None) -> Any:
        if isinstance(self._what, BaseException):
            raise self._what
        return self._what

    def stream(self, messages: Any) -> Any:
        yield "In "
        yield self.complete(messages)


class City(BaseModel):
    city: str


@pytest.mark.parametrize(
    "what",
    [
        None,
        7,
        ["In Lyon."],
        {"value": "In Lyon."},
        ValueError("no"),
        KeyError(SECRET),
        RuntimeError(f"api_key={SECRET}"),
        RecursionError("deep"),
        MemoryError("much"),
        asyncio.CancelledError(SECRET),
        GeneratorExit(),
        Completion(None, None, "own"),  # type: ignore[arg-type]
        Completion("x", 7, "own"),  # type: ignore[arg-type]
        Completion("x", b"x", "own"),  # type: ignore[arg-type]
        Completion("x", "x", None),  # type: ignore[arg-type]
        Completion("x", "x", ["own"]),  # type: ignore[arg-type]
        Completion(None, None, None, None, None, None),  # type: ignore[arg-type]
        LLMError("own", spent=5),  # type: ignore[arg-type]
        LLMError("own", spent=Completion(None, None, None, 50, 50)),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_a_model_may_raise_or_return_anything(what: Any, store: SQLiteStore) -> None:
    meter = Ledger(store).meter(ANA)
    llm = meter.llm(Anything(what), "light")
    calls: list[Any] = [lambda: llm.complete(ASK), lambda: llm.complete(ASK, City)]
    if not isinstance(what, GeneratorExit):  # of a stream, it is its own close
        calls.append(lambda: list(llm.stream(ASK)))
    for call in calls:
        with pytest.raises(LLMError, match="own") as caught:
            call()
        assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


class StreamsAtOnce(Anything):
    """Its ``stream`` is no generator, so that it raises before the first piece is asked for."""

    def stream(self, messages: Any) -> Any:
        return self.complete(messages)


@pytest.mark.parametrize(
    "what", [RuntimeError(f"key {SECRET}"), KeyError(SECRET), None, 7], ids=repr
)
def test_a_stream_may_fail_before_it_begins(what: Any) -> None:
    model = StreamsAtOnce(what)
    model.api_key = SECRET  # type: ignore[attr-defined]
    with HyMem(":memory:", llm=model) as memory, pytest.raises(LLMError) as caught:
        list(memory.chat_stream("Hello", user_id="ana"))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", [None, 7, ["own"], b"own", KeyError(SECRET)], ids=repr)
def test_a_model_without_a_name_is_told(name: Any, store: SQLiteStore) -> None:
    class Odd(Anything):
        @property
        def model(self) -> Any:  # type: ignore[override]
            if isinstance(name, Exception):
                raise name
            return name

    for budget in (Budget(), Budget(usd=1.0), Budget(tokens=100)):
        llm = Ledger(store).meter(ANA, budget).llm(Odd(Completion("x", "x", "own")), "light")
        for call in (llm.complete, llm.stream):
            with pytest.raises(LLMError, match="Odd") as caught:
                call(ASK)
            assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_unchecked_values_are_checked_and_paid_for(store: SQLiteStore) -> None:
    meter = Ledger(store).meter(ANA)
    for bad in (
        City.model_construct(city=7),
        City.model_construct(),
    ):
        llm = meter.llm(Anything(Completion(bad, "x", "own", 5, 1, 0)), "light")
        with pytest.raises(LLMOutputError, match="City"):
            llm.complete(ASK, City)
    assert (meter.usage.calls, meter.usage.input_tokens) == (2, 10)
    good = Anything(Completion(City(city="Lyon"), "x", "own"))
    assert meter.llm(good, "light").complete(ASK, City).value == City(city="Lyon")
    broken = Anything(Completion(City(city="\ud800"), "x", "own"))
    assert meter.llm(broken, "light").complete(ASK, City).value == City(city="\ufffd")


def test_no_reply_holds_what_no_file_can() -> None:
    class Broken(Anything):
        model = "own\udc00"

        def stream(self, messages: Any) -> Any:
            yield "a\ud800"
            yield self.complete(messages)

    reply = Completion("a\ud800", "a\ud800", "own\udc00", 1, 1, 0)
    with HyMem(":memory:", llm=Broken(reply)) as memory:
        chat = memory.chat("Hello", user_id="ana")
        assert (chat.text, chat.model) == ("a\ufffd", "own\ufffd")
        assert "".join(memory.chat_stream("Hello", user_id="ana")) == "a\ufffd"
        (row,) = memory.costs(user_id="ana", by=("model",))
        assert (row["model"], row["calls"]) == ("own\ufffd", 2)


def test_a_stream_without_an_end_is_counted_by_what_it_said(store: SQLiteStore) -> None:
    class Endless(Anything):
        def stream(self, messages: Any) -> Any:
            yield "In Lyon."
            if self._what:
                raise self._what

    for failure in (None, RuntimeError("no"), LLMError("own")):
        meter = Ledger(store).meter(ANA)
        with nullcontext() if failure is None else pytest.raises(LLMError):
            list(meter.llm(Endless(failure), "light").stream(ASK))
        assert (meter.usage.output_tokens, meter.usage.estimated) == (3, True)


def test_a_value_outside_the_schema_is_no_reply(store: SQLiteStore) -> None:
    meter = Ledger(store).meter(ANA)
    llm = meter.llm(Reports(5, 1, 0), "light")
    with pytest.raises(LLMOutputError, match="not City"):
        llm.complete(ASK, City)
    assert meter.usage.input_tokens == 5  # it was paid for


def test_a_runaway_reply_is_counted_at_once(store: SQLiteStore) -> None:
    llm = Reports(None, None, None)
    llm._done = Completion(None, "tea and cake " * 500_000, "test-model")
    meter = Ledger(store, PRICES).meter(ANA)
    started = time.process_time()
    meter.llm(llm, "light").complete(ASK)
    assert time.process_time() - started < 2
    assert meter.usage.output_tokens == pytest.approx(1_500_000, rel=0.001)


def test_negative_rows_of_older_versions_lift_no_cap(store: SQLiteStore) -> None:
    row = {"scope": ANA, "stage": "chat", "model": "test-model"}
    old = {"input_tokens": -(10**6), "output_tokens": -(10**6), "cached_tokens": -1, "usd": -5.0}
    store.add_costs([row | old, row | {"input_tokens": 90, "usd": 1.0}])
    (total,) = Ledger(store, PRICES).costs(ANA)
    assert (total["input_tokens"], total["output_tokens"], total["usd"]) == (90, 0, 1.0)
    meter = Ledger(store, PRICES).meter(ANA, scope_budget=Budget(tokens=95))
    with pytest.raises(BudgetError):
        meter.llm(Reports(1, 1, 0), "chat").complete(ASK)


def test_ledger_equals_the_server_to_the_token(
    server: OpenAIServer, store: SQLiteStore, llm: OpenAIChat
) -> None:
    ledger = Ledger(store, PRICES)
    meter = ledger.meter(ANA)
    server.script(Fail(500), "In Lyon.", "", Say("Still in Lyon.", cached=2), Say("By the sea."))
    meter.llm(llm, "light", "light").complete(ASK)
    meter.llm(llm, "deep", "deep").complete(ASK)  # an empty reply, then a good one
    list(meter.llm(llm, "deep", "deep").stream(ASK))
    usage = meter.usage
    assert (usage.input_tokens, usage.output_tokens) == (server.input_tokens, server.output_tokens)
    assert (usage.calls, usage.cached_tokens, usage.estimated) == (3, 2, False)
    assert usage.usd == pytest.approx((server.input_tokens + 4 * server.output_tokens) / 1_000_000)
    assert usage.by_stage["light"].calls == 1
    assert usage.by_stage["deep"].calls == 2
    assert usage.seconds > 0

    (total,) = ledger.costs(by=())
    assert total["input_tokens"] == server.input_tokens
    assert total["output_tokens"] == server.output_tokens
    assert total["usd"] == pytest.approx(usage.usd)
    rows = ledger.costs(ANA, by=("stage", "tier", "model", "scope", "day"))
    today = datetime.now(UTC).date().isoformat()
    assert [tuple(row.values())[:6] for row in rows] == [
        ("deep", "deep", "test-model", ANA, today, 2),
        ("light", "light", "test-model", ANA, today, 1),
    ]
    assert ledger.costs(BEN) == []
    assert ledger.costs(since=datetime.now(UTC) + timedelta(hours=1)) == []


def test_unknown_group_is_refused(store: SQLiteStore) -> None:
    with pytest.raises(InputError, match="stage, tier, model, scope, day"):
        Ledger(store).costs(by=("colour",))


def test_tokens_that_the_endpoint_does_not_report_are_estimated_and_marked(
    server: OpenAIServer, store: SQLiteStore, llm: OpenAIChat
) -> None:
    meter = Ledger(store, PRICES).meter(ANA)
    server.script(Say("In Lyon.", usage=False))
    meter.llm(llm, "light").complete(ASK)
    usage = meter.usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (7, 3, True)
    assert usage.usd == pytest.approx((7 + 3 * 4) / 1_000_000)


def test_unknown_dollars_stay_unknown_in_sums(
    server: OpenAIServer, store: SQLiteStore, llm: OpenAIChat
) -> None:
    class Elsewhere:  # the same endpoint under an address that the table does not know
        model = "mystery"
        base_url = "https://llm.example.org/v1"
        complete = llm.complete
        stream = llm.stream

    ledger = Ledger(store, {"free-model": (0, 0)})
    meter = ledger.meter(ANA)
    meter.llm(Elsewhere(), "light").complete(ASK)
    meter.llm(OpenAIChat("free-model", base_url=server.url), "deep").complete(ASK)
    assert meter.usage.usd is None
    assert meter.usage.by_stage["deep"].usd == 0.0
    assert {row["stage"]: row["usd"] for row in ledger.costs()} == {"light": None, "deep": 0.0}
    with pytest.raises(PriceError, match="prices="):
        ledger.meter(ANA, Budget(usd=1.0)).llm(Elsewhere(), "light").complete(ASK)
    assert server.calls == 2


def test_failed_calls_that_cost_something_are_counted(
    server: OpenAIServer, store: SQLiteStore, llm: OpenAIChat
) -> None:
    meter = Ledger(store, PRICES).meter(ANA)
    server.answer = lambda body: ""
    with pytest.raises(LLMOutputError):
        meter.llm(llm, "light").complete(ASK)
    server.script(Fail(401))
    with pytest.raises(LLMError):
        meter.llm(llm, "light").complete(ASK)
    assert meter.usage.calls == 1
    assert meter.usage.input_tokens == server.input_tokens > 0


def test_a_broken_stream_and_one_left_early_are_counted_by_estimate(
    server: OpenAIServer, store: SQLiteStore, llm: OpenAIChat
) -> None:
    meter = Ledger(store, PRICES).meter(ANA)
    server.script(Drop(2, "She moved to Lyon."), "She moved to Lyon.")
    with pytest.raises(LLMError):
        list(meter.llm(llm, "chat").stream(ASK))
    assert (meter.usage.calls, meter.usage.output_tokens, meter.usage.estimated) == (1, 2, True)
    stream = meter.llm(llm, "chat").stream(ASK)
    assert next(stream) == "She"
    stream.close()
    assert (meter.usage.calls, meter.usage.output_tokens) == (2, 3)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Budget(tokens=40), Budget()),
        (Budget(), Budget(tokens=40)),
        (Budget(usd=6e-5), Budget()),
        (Budget(), Budget(usd=6e-5)),
    ],
)
def test_a_cap_stops_the_call_that_would_pass_it(
    server: OpenAIServer, store: SQLiteStore, llm: OpenAIChat, first: Budget, second: Budget
) -> None:
    server.answer = lambda body: "In Lyon, near the old town."
    meter = Ledger(store, PRICES).meter(ANA, first, second)
    metered = meter.llm(llm, "light")
    metered.complete(ASK)
    metered.complete(ASK)
    with pytest.raises(BudgetError, match="cap of"):
        metered.complete(ASK)
    with pytest.raises(BudgetError, match="cap of"):
        next(iter(metered.stream(ASK)))
    assert server.calls == 2


class Slow:
    """Takes its time, and a thousand tokens each way."""

    model = "test-model"

    def __init__(self, failure: LLMError | None = None) -> None:
        self.failure = failure
        self.calls = 0

    def complete(self, messages: Any, schema: Any = None) -> Completion:
        self.calls += 1
        time.sleep(0.2)
        if self.failure:
            raise self.failure
        return Completion("Yes.", "Yes.", self.model, 1000, 1000, 0)

    def stream(self, messages: Any) -> Iterator[str | Completion]:
        yield "Yes."
        yield self.complete(messages)


@pytest.mark.parametrize("budget", [Budget(tokens=2500), Budget(usd=0.006)])
@pytest.mark.parametrize("way", ["chat", "stream"])
def test_calls_at_once_pass_no_cap_together(budget: Budget, way: str) -> None:
    llm, config = Slow(), Config(scope_budget=budget)
    with HyMem(":memory:", llm=llm, config=config, prices=PRICES, background=False) as memory:

        def call(_: int) -> str:
            try:
                if way == "chat":
                    return memory.chat("Hello", user_id="ana").text
                return "".join(memory.chat_stream("Hello", user_id="ana"))
            except BudgetError:
                return ""

        with ThreadPoolExecutor(30) as pool:
            replies = list(pool.map(call, range(30)))
        (row,) = memory.costs(by=["stage"], user_id="ana")  # a later call has something to recall
        assert llm.calls == row["calls"] == sum(map(bool, replies))
        # as one after the other: only the last call's reply may pass the cap
        assert 1 <= row["calls"] <= 2
        assert memory.chat("Hello", user_id="ben").text == "Yes."


def test_one_request_passes_no_cap_of_its_own_by_calls_at_once(store: SQLiteStore) -> None:
    llm, meter = Slow(), Ledger(store).meter(None, Budget(tokens=6000))
    metered = meter.llm(llm, "extract")
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(metered.complete, ASK) for _ in range(12)]
    assert sum(isinstance(call.exception(), BudgetError) for call in calls) == 12 - llm.calls
    assert 3 <= llm.calls <= 4


def test_calls_that_have_ended_hold_nothing(store: SQLiteStore) -> None:
    failing, ledger = Slow(LLMError("no")), Ledger(store)
    for _ in range(3):
        with pytest.raises(LLMError, match="no"):
            ledger.meter(ANA, Budget(), Budget(tokens=100)).llm(failing, "chat").complete(ASK)
    metered = ledger.meter(ANA, Budget(), Budget(tokens=100)).llm(Slow(), "chat")
    metered.stream(ASK)  # never begun
    left = metered.stream(ASK)
    assert next(left) == "Yes."
    with pytest.raises(BudgetError, match="together with those under way"):
        metered.complete(ASK)
    del left  # dropped by its reader
    gc.collect()
    assert ledger.holds.of_scope(ANA) == []
    metered.complete(ASK)


def test_scope_budget_counts_earlier_requests_of_that_scope_alone(
    server: OpenAIServer, store: SQLiteStore, llm: OpenAIChat
) -> None:
    ledger, cap = Ledger(store, PRICES), Budget(tokens=25)
    ledger.meter(ANA, Budget(), cap).llm(llm, "light").complete(ASK)
    ledger.meter(ANA, Budget(), cap).llm(llm, "light").complete(ASK)
    ledger.meter(BEN, Budget(), cap).llm(llm, "light").complete(ASK)
    third = ledger.meter(ANA, Budget(), cap).llm(llm, "light")
    with pytest.raises(BudgetError):
        third.complete(ASK)


def test_calls_behind_a_protocol_are_charged_to_the_request_at_hand(
    server: OpenAIServer, store: SQLiteStore, llm: OpenAIChat
) -> None:
    ledger = Ledger(store, PRICES)
    with store._db.write() as connection:
        make_scope(connection, ANA)  # extraction is of what was added
    extracting = ledger.ambient_llm(llm, "extract")
    with ledger.meter(ANA).charging() as meter:
        extracting.complete(ASK)
    extracting.complete(ASK)
    assert meter.usage.calls == 1
    by_scope = {row["scope"]: row["calls"] for row in ledger.costs(by=("scope",))}
    assert by_scope == {ANA: 1, None: 1}


class OwnExtractor:
    """A user's own ``Extractor`` on a model."""

    def __init__(self, llm: LLM) -> None:
        self.llm = llm

    def metered(self, counter: CallCounter) -> OwnExtractor:
        return OwnExtractor(counter.ambient_llm(self.llm, "extract"))

    def extract(self, events: Sequence[Sequence[Turn]]) -> list[list[Statement]]:
        return [
            [Statement(self.llm.complete([{"role": "user", "content": turn.text}]).text, (at,))]
            for turns in events
            for at, turn in enumerate(turns)
        ]


def test_a_users_own_extractor_is_metered_and_stops_at_the_budget(
    server: OpenAIServer, llm: OpenAIChat
) -> None:
    config = Config(scope_budget=Budget(tokens=60))
    with HyMem(
        ":memory:", llm=None, extractor=OwnExtractor(llm), config=config, background=False
    ) as memory:
        memory.add("I moved to Lyon last week.", user_id="ana", wait=True)
        (row,) = memory.costs(user_id="ana")
        assert (row["stage"], row["calls"]) == ("extract", 1)
        memory.add("word " * 100, user_id="ana", session_id="later")
        status = memory.flush(user_id="ana")
    assert len(server.requests) == 1
    assert status.events == {"done": 1, "failed": 1}


def test_concurrent_calls_are_all_counted(
    server: OpenAIServer, store: SQLiteStore, llm: OpenAIChat
) -> None:
    import threading

    ledger = Ledger(store, PRICES)
    meter = ledger.meter(ANA)
    metered = meter.llm(llm, "light")
    threads = [threading.Thread(target=metered.complete, args=(ASK,)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.usage.calls == 12
    assert meter.usage.input_tokens == server.input_tokens
    assert ledger.costs(ANA)[0]["input_tokens"] == server.input_tokens


def test_completion_passes_through_unchanged(
    server: OpenAIServer, store: SQLiteStore, llm: OpenAIChat
) -> None:
    metered = Ledger(store).meter(ANA).llm(llm, "light")
    assert metered.model == "test-model"
    done = metered.complete(ASK)
    assert done == Completion("ok", "ok", "test-model", server.input_tokens, 1, 0)
    assert list(metered.stream(ASK))[-1].text == "ok"  # type: ignore[union-attr]
