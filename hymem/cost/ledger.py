"""The ledger: every model and embedding call, what it cost, and the caps that stop the next one.

Stages of arXiv 2602.13933 are told apart in every record, so that the write path's costs and those
of the light and the deep tier can be seen side by side.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hymem.cost.holds import Hold, Holds
from hymem.cost.prices import Prices
from hymem.errors import (
    BudgetError,
    EncoderError,
    InputError,
    LLMError,
    PriceError,
    StoreError,
)
from hymem.inputs.messages import clean_text
from hymem.inputs.outputs import checked_completion, checked_name, checked_spent
from hymem.llm.slots import behind_add
from hymem.llm.streams import Closable
from hymem.system.redact import as_ours, brief, foreign, guarded, secrets_of
from hymem.system.turns import awaited, waiting
from hymem.text.tokens import reported_count
from hymem.types import LLM, Budget, Completion, Encoder, PaidEncoder, Scope, StageUsage, Usage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hymem.stores.base import Store

log = logging.getLogger(__name__)

# What is longer is estimated by its beginning: a runaway reply must not take seconds to count.
COUNTED_CHARACTERS = 100_000
GROUPS = ("stage", "tier", "model", "scope", "day")
_NO_CAP = Budget()
_current: ContextVar[Meter | None] = ContextVar("hymem_meter", default=None)


class Ledger:
    """Keeps the costs of a store. ``prices``: see ``hymem.cost.prices.Prices``. Thread-safe."""

    def __init__(
        self, store: Store, prices: Mapping[str, tuple[float, float]] | None = None
    ) -> None:
        self.store = store
        self.prices = Prices(prices)
        self.holds = Holds()

    def meter(
        self, scope: Scope | None, budget: Budget = _NO_CAP, scope_budget: Budget = _NO_CAP
    ) -> Meter:
        """The meter of one request. ``budget`` caps this request, ``scope_budget`` all that the
        scope has ever spent."""
        return Meter(self, scope, budget, scope_budget)

    def ambient_llm(self, llm: LLM, stage: str) -> LLM:
        """``llm``, metered on whatever request is ``charging`` when it is called. For stages whose
        protocol knows no scope, such as an ``Extractor``."""
        return MeteredLLM(llm, stage, "none", self.current, behind=True)

    def encoder(self, encoder: Encoder) -> Encoder:
        """``encoder``, metered in the same way if its calls are paid for; else as it is."""
        return MeteredEncoder(encoder, self) if isinstance(encoder, PaidEncoder) else encoder

    def current(self) -> Meter:
        """The meter that is ``charging`` in this thread, or one for calls on no scope's behalf."""
        return _current.get() or self.meter(None)

    def costs(
        self,
        scope: Scope | None = None,
        by: Sequence[str] = ("stage",),
        since: datetime | None = None,
    ) -> list[dict[str, Any]]:
        """What was spent, in groups: one dict per group, dearest tokens first, with the names in
        ``by`` (out of ``stage``, ``tier``, ``model``, ``scope``, ``day``) and ``calls``,
        ``input_tokens``, ``output_tokens``, ``cached_tokens``, ``usd`` (``None`` if any price is
        unknown), ``seconds``, ``estimated``. A ``scope`` that was deleted is ``None``.

        ``scope=None`` means all scopes. Raises ``InputError`` for an unknown group.
        """
        if not isinstance(by, (list, tuple)):
            raise InputError(f"by is {by!r:.40}; pass a list out of {', '.join(GROUPS)}")
        if unknown := [name for name in by if name not in GROUPS]:
            raise InputError(f"costs cannot be grouped by {unknown[0]!r}; use {', '.join(GROUPS)}")
        groups: dict[tuple[Any, ...], StageUsage] = {}
        for row in self.store.costs(scope, since):
            key = tuple(row[name] for name in by)
            groups[key] = groups.get(key, StageUsage()) + _usage(row)
        ordered = sorted(
            groups.items(), key=lambda item: -item[1].input_tokens - item[1].output_tokens
        )
        return [
            dict(zip(by, key, strict=True))
            | {f.name: getattr(usage, f.name) for f in fields(usage)}
            for key, usage in ordered
        ]


class Meter:
    """Counts what one request spends, writes each call into the ledger as soon as it is made, and
    refuses the next one when a cap would be passed, by calls under way too. Safe to use from
    several threads."""

    def __init__(
        self, ledger: Ledger, scope: Scope | None, budget: Budget, scope_budget: Budget
    ) -> None:
        self._ledger, self._scope = ledger, scope
        self._budget, self._scope_budget = budget, scope_budget
        self._started = time.perf_counter()
        self._calls: list[tuple[str, StageUsage]] = []

    def llm(self, llm: LLM, stage: str, tier: str = "none") -> LLM:
        """``llm``, with its calls counted here under ``stage`` and ``tier``."""
        return MeteredLLM(llm, stage, tier, lambda: self)

    @contextmanager
    def charging(self) -> Iterator[Meter]:
        """Within this block, the ledger's ``ambient_llm`` and ``encoder`` count here."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    @property
    def usage(self) -> Usage:
        """All calls so far. The total's ``seconds`` are those since the request began, the stages'
        those spent waiting for their models."""
        by_stage: dict[str, StageUsage] = {}
        for stage, usage in list(self._calls):
            by_stage[stage] = by_stage.get(stage, StageUsage()) + usage
        total = sum(by_stage.values(), StageUsage())
        seconds = time.perf_counter() - self._started
        values = {f.name: getattr(total, f.name) for f in fields(StageUsage)}
        return Usage(**{**values, "seconds": seconds}, by_stage=by_stage)

    def check(self, model: str, base_url: str | None, texts: Sequence[str]) -> None:
        """Refuse a call whose input alone, beside what calls under way are expected to take, would
        pass a cap; its own reply may still pass it.

        Raises ``BudgetError``, or ``PriceError`` when dollars are capped and unknown.
        """
        for budget, spent, held in self._caps():
            tokens = _estimate(texts)
            usd = self._ledger.prices.usd(model, base_url, tokens)
            if budget.usd is not None and usd is None:
                raise PriceError(
                    f"the price of {model} is unknown, so a cap in dollars cannot be kept; pass "
                    f"prices={{{model!r}: (input, output)}} in dollars per million tokens, or cap "
                    "tokens instead"
                )
            beside = ", together with those under way" if held else ""
            used = spent.input_tokens + spent.output_tokens + sum(hold.tokens for hold in held)
            if budget.tokens is not None and used + tokens > budget.tokens:
                raise BudgetError(
                    f"the next call would pass the cap of {budget.tokens} tokens{beside}"
                )
            paid = (spent.usd or 0.0) + sum(hold.usd for hold in held)
            if budget.usd is not None and paid + (usd or 0.0) > budget.usd:
                raise BudgetError(f"the next call would pass the cap of ${budget.usd:g}{beside}")

    @contextmanager
    def reserved(
        self,
        stage: str,
        model: str,
        base_url: str | None,
        texts: Sequence[str],
        *,
        replies: bool = True,
    ) -> Iterator[None]:
        """``check`` a call, and hold what it is expected to take against the caps until it was
        recorded or has failed, at the end of this block. ``replies``: it brings tokens too."""
        if self._scope_budget == self._budget == _NO_CAP:
            yield
            return
        holds, prices = self._ledger.holds, self._ledger.prices
        with holds.lock:
            self.check(model, base_url, texts)
            into, out = _estimate(texts), 0
            if replies:
                into, out = holds.expected(stage, into)
            usd = prices.usd(model, base_url, into, out) or 0.0
            hold = Hold(self, self._scope, into + out, usd)
            holds.add(hold)
        try:
            yield
        finally:
            holds.remove(hold)

    def record(
        self,
        stage: str,
        tier: str,
        base_url: str | None,
        done: Completion,
        sent: Sequence[str],
        seconds: float,
    ) -> None:
        """Count one call. ``sent``: the texts it sent, from which tokens are estimated where the
        endpoint reported none, or what cannot be."""
        into = reported_count(done.input_tokens, sent)
        out = reported_count(done.output_tokens, [done.text])
        cached = reported_count(done.cached_tokens) or 0
        # More cached than sent: made up, or counted apart from the input.
        estimated = into is None or out is None or cached > into
        if into is None or cached > into:
            into = max(into or 0, _estimate(sent))
        out = _estimate([done.text]) if out is None else out
        cached = min(cached, into)
        usd = self._ledger.prices.usd(done.model, base_url, into, out, cached)
        usage = StageUsage(1, into, out, cached, usd, seconds, estimated)
        self._calls.append((stage, usage))
        self._ledger.holds.learn(stage, usage)
        row = {f.name: getattr(usage, f.name) for f in fields(usage) if f.name != "calls"}
        row |= {"scope": self._scope, "at": datetime.now(UTC)}
        row |= {"stage": stage, "tier": tier, "model": done.model}
        try:
            self._ledger.store.add_costs([row])
        except StoreError as error:  # the reply is paid for; losing it too would help nobody
            log.warning(
                "a call of %s could not be written into the ledger: %s", stage, brief(error)
            )

    def _caps(self) -> Iterator[tuple[Budget, StageUsage, list[Hold]]]:
        holds = self._ledger.holds
        if self._budget != _NO_CAP:
            spent = _known(usage for _, usage in list(self._calls))
            yield self._budget, spent, holds.of_request(self)
        if self._scope_budget != _NO_CAP and self._scope is not None:
            rows = self._ledger.store.costs(self._scope, None)
            spent = _known(_usage(row) for row in rows)
            yield self._scope_budget, spent, holds.of_scope(self._scope)


@dataclass(frozen=True, slots=True)
class MeteredLLM:
    """An ``LLM`` whose every call is checked against the caps and counted, and whose every error is
    one of ours. ``behind``: its calls are extraction's, which nobody waits for."""

    inner: LLM
    stage: str
    tier: str
    meter: Callable[[], Meter]
    behind: bool = False

    @property
    def model(self) -> str:
        """Its name. Raises ``LLMError`` where that is no string."""
        return checked_name(LLMError, self.inner)

    def complete(
        self, messages: Sequence[Mapping[str, str]], schema: type[Any] | None = None
    ) -> Completion:
        """As the inner model's; raises ``BudgetError`` and ``PriceError`` before the call too."""
        meter = self.meter()
        with self._reserved(meter, messages):
            started = time.perf_counter()
            outcome = self._outcome(messages, schema)
            spent = outcome.spent if isinstance(outcome, LLMError) else outcome
            if spent is not None:
                self._record(meter, spent, messages, started)
        if isinstance(outcome, LLMError):
            raise outcome
        return outcome

    def stream(self, messages: Sequence[Mapping[str, str]]) -> Iterator[str | Completion]:
        """As the inner model's; may be closed from any thread. A stream that its reader leaves
        early is counted too, by estimate."""
        meter = self.meter()
        meter.check(self.model, _base_url(self.inner), _texts(messages))
        source = guarded(LLMError, self.model, lambda: self.inner.stream(messages), self._secrets)
        return Closable(self._counted(source, messages, meter), source)

    def _outcome(
        self, messages: Sequence[Mapping[str, str]], schema: type[Any] | None
    ) -> Completion | LLMError:
        """The model may be anybody's, and raise or return anything."""
        try:
            with behind_add() if self.behind else nullcontext(), waiting():
                done: Any = self.inner.complete(messages, schema)
            return checked_completion(done, self.model, schema)
        except foreign() as error:
            return self._failure(error)

    def _failure(self, error: BaseException) -> LLMError:
        if not isinstance(error, LLMError):
            return as_ours(LLMError, self.model, error, self._secrets())
        error.spent = checked_spent(getattr(error, "spent", None), self.model)
        error.down = getattr(error, "down", False) is True
        return error

    def _secrets(self) -> list[str]:
        return secrets_of(self.inner)

    def _counted(
        self,
        source: Iterator[str | Completion],
        messages: Sequence[Mapping[str, str]],
        meter: Meter,
    ) -> Generator[str | Completion, None, None]:
        with self._reserved(meter, messages):
            yield from self._pieces(source, messages, meter)

    def _pieces(
        self,
        source: Iterator[str | Completion],
        messages: Sequence[Mapping[str, str]],
        meter: Meter,
    ) -> Generator[str | Completion, None, None]:
        started = time.perf_counter()
        pieces: list[str] = []
        whole: Completion | None = None
        failure: LLMError | None = None
        spent: Completion | None = None
        try:
            for piece in awaited(source):
                if isinstance(piece, Completion):
                    whole = checked_completion(piece, self.model, None)
                else:
                    pieces.append(clean_text(piece + ""))  # what is no text is the model's fault
                    yield pieces[-1]
        except GeneratorExit:
            raise
        except foreign() as error:
            failure = self._failure(error)
            spent = failure.spent
        finally:
            spent = spent or whole
            if spent is None and (pieces or failure is None):  # what was shown was paid for
                spent = Completion(None, "".join(pieces), self.model)
            if spent is not None:
                self._record(meter, spent, messages, started)
        if failure is not None:
            raise failure
        if whole is not None:
            yield whole

    def _reserved(
        self, meter: Meter, messages: Sequence[Mapping[str, str]]
    ) -> AbstractContextManager[None]:
        return meter.reserved(self.stage, self.model, _base_url(self.inner), _texts(messages))

    def _record(
        self,
        meter: Meter,
        done: Completion,
        messages: Sequence[Mapping[str, str]],
        started: float,
    ) -> None:
        seconds = time.perf_counter() - started
        url = _base_url(self.inner)
        meter.record(self.stage, self.tier, url, done, _texts(messages), seconds)


@dataclass(frozen=True, slots=True)
class MeteredEncoder:
    """An ``Encoder`` whose calls cost money, counted on the request at hand as stage ``embed``."""

    inner: Any
    ledger: Ledger

    @property
    def name(self) -> str:
        return str(self.inner.name)

    @property
    def version(self) -> str:
        return str(self.inner.version)

    @property
    def dim(self) -> int:
        return int(self.inner.dim)

    @property
    def max_tokens(self) -> int:
        return int(self.inner.max_tokens)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As the inner encoder's; raises ``BudgetError`` and ``PriceError`` before the call too."""
        meter, url = self.ledger.current(), _base_url(self.inner)
        model = checked_name(EncoderError, self.inner)
        with meter.reserved("embed", model, url, texts, replies=False):
            started = time.perf_counter()
            with waiting():
                rows, tokens = self.inner.encode_counted(texts)
            done = Completion(None, "", model, tokens, 0, 0)
            if len(texts):
                meter.record("embed", "none", url, done, texts, time.perf_counter() - started)
        vectors: NDArray[np.float32] = rows
        return vectors


def _base_url(client: Any) -> str | None:
    url = guarded(LLMError, type(client).__name__, lambda: getattr(client, "base_url", None))
    return url if isinstance(url, str) else None


def _texts(messages: Sequence[Mapping[str, str]]) -> list[str]:
    return [message["content"] for message in messages]


def _estimate(texts: Sequence[str]) -> int:
    from hymem.text.tokens import count_many

    heads = [text[:COUNTED_CHARACTERS] for text in texts]
    counts = zip(texts, heads, count_many(heads), strict=True)
    return sum(count * len(text) // len(head) for text, head, count in counts if head)


def _usage(row: Mapping[str, Any]) -> StageUsage:
    return StageUsage(**{f.name: row[f.name] for f in fields(StageUsage)})


def _known(usages: Iterator[StageUsage]) -> StageUsage:
    """The sum, with unknown dollars left out: they cannot be held against a cap."""
    total, usd = StageUsage(), 0.0
    for usage in usages:
        total, usd = total + usage, usd + (usage.usd or 0.0)
    return StageUsage(
        total.calls, total.input_tokens, total.output_tokens, total.cached_tokens, usd
    )
