"""Answers, with a model: concurrent, resumable, within a dollar cap, and predictable beforehand."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from evals.answers.answerers import Answerer, CountingLLM, Reader
from evals.answers.records import Build, Record, RecordWriter, Run, tokens_of, usd_of
from evals.data.history import History
from evals.data.loaders import DataError
from evals.data.tasks import Question, Task
from evals.results import measured_code

# Reply length that a dry run assumes until records tell better.
ASSUMED_OUTPUT = 40
# After so many failures in a row it is not the questions that fail.
FAILURES_IN_A_ROW = 20
_CAP_REACHED = "the next question might pass --max-usd; run again with a higher cap to go on"

Todo = tuple[History, list[Question]]  # a history, and its questions that are still to be asked
Loaded = tuple[History, list[Question], Reader]


def header_of(task: Task, answerer: Answerer) -> dict[str, Any]:
    """What the records of one run have in common."""
    return {
        "task": task.name,
        "task_version": task.version,
        "data": {"name": task.file.name, "sha256": task.file.sha256},
        "system": answerer.name,
        "model": answerer.model,
        "settings": dict(answerer.settings),
        "code": measured_code(),
    }


@dataclass(frozen=True, slots=True)
class Summary:
    """``stopped`` says why not every question was asked, if so. ``usd`` is ``None`` if unknown."""

    answered: int
    failed: int
    skipped: int
    usd: float | None
    stopped: str | None = None


class Purse:
    """Dollars spent and reserved, under a cap. Thread-safe."""

    def __init__(self, cap: float | None, spent: float) -> None:
        self._cap, self._spent, self._reserved = cap, spent, 0.0
        self._lock = threading.Lock()

    def reserve(self, usd: float) -> bool:
        """Whether ``usd`` more fits under the cap; if so it is set aside."""
        with self._lock:
            fits = self._cap is None or self._spent + self._reserved + usd <= self._cap
            if fits:
                self._reserved += usd
            return fits

    def settle(self, reserved: float, paid: float) -> None:
        with self._lock:
            self._reserved -= reserved
            self._spent += paid

    @property
    def left(self) -> float | None:
        with self._lock:
            return None if self._cap is None else self._cap - self._spent - self._reserved


def generate(
    task: Task,
    answerer: Answerer,
    writer: RecordWriter,
    *,
    price: Callable[[int, int], float | None],
    concurrency: int = 8,
    max_usd: float | None = None,
    limit: int | None = None,
    per_minute: float | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Summary:
    """Answer every question of ``task`` that ``writer``'s file does not hold yet; those that failed
    before are tried again.

    ``price`` tells the dollars of so many input and output tokens. ``limit`` is the number of
    questions of the task to cover, from the first. ``max_usd`` caps the whole file, earlier parts
    included: a question is asked only when what it may cost still fits.

    Raises ``DataError`` for a dollar cap on a model of unknown price.
    """
    if max_usd is not None and price(1000, 1000) is None:
        raise DataError(
            f"the price of {answerer.model} is unknown, so --max-usd cannot be kept: give it "
            "with --price INPUT OUTPUT (dollars per million tokens), or leave the cap out"
        )
    done = {record.question for record in writer.run.answered}
    purse = Purse(max_usd, spent_before(writer.run))
    session = _Session(answerer, writer, purse, price, concurrency, per_minute, advance)
    stopped = session.run(todo(task, done, limit), len(done))
    return Summary(session.answered, session.failed, len(done), session.usd, stopped)


def todo(task: Task, done: set[str], limit: int | None) -> Iterator[Todo]:
    """Histories with the questions still to be asked, of the first ``limit`` questions."""
    seen = 0
    for history, questions in task.items():
        room = len(questions) if limit is None else max(limit - seen, 0)
        seen += len(questions)
        if left := [question for question in questions[:room] if question.id not in done]:
            yield history, left
        if limit is not None and seen >= limit:
            return


def spent_before(run: Run) -> float:
    """Dollars that a records file has already cost, as far as known."""
    usages = [record.usage for record in run.records.values()]
    usages += [build.usage for build in run.builds.values()]
    return sum(usd_of(usage) or 0.0 for usage in usages)


class _Session:
    """One run over the open questions: a pool of threads, and what they report back."""

    def __init__(
        self,
        answerer: Answerer,
        writer: RecordWriter,
        purse: Purse,
        price: Callable[[int, int], float | None],
        concurrency: int,
        per_minute: float | None,
        advance: Callable[[], object],
    ) -> None:
        self._answerer, self._writer, self._purse, self._price = answerer, writer, purse, price
        self._advance = advance
        self._concurrency = concurrency
        self._waiting = threading.BoundedSemaphore(2 * concurrency)
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._lock = threading.Lock()
        self._finished = threading.Condition()
        self._under_way = 0
        self._bug: BaseException | None = None
        self._in_a_row = 0
        self._stopped: str | None = None
        self.answered = self.failed = 0
        self.usd: float | None = 0.0

    def run(self, work: Iterator[Todo], skipped: int) -> str | None:
        """Ask everything; why it stopped early, if it did."""
        for _ in range(skipped):
            self._advance()
        with ThreadPoolExecutor(self._concurrency) as pool:
            try:
                for history, questions, reader in self._readers(work):
                    self._questions(pool, history, questions, reader)
                    if self._stopped:
                        break
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self._raise_bug()
        return self._stopped

    def _readers(self, work: Iterator[Todo]) -> Iterator[Loaded]:
        """Every history, loaded, until money does not suffice for one question more.

        What costs nothing to load is loaded while the questions before it are asked."""
        if not self._answerer.build_is_free:
            for history, questions in work:
                reserve = self._bound(history)
                if not self._reserve(reserve):
                    return
                self._purse.settle(reserve, 0.0)
                yield history, questions, self._answerer.load(history)
            return
        with ThreadPoolExecutor(1) as loader:
            ahead = loader.submit(self._load_next, work)
            try:
                while (loaded := ahead.result()) is not None:
                    ahead = loader.submit(self._load_next, work)
                    yield loaded
            finally:
                if ahead.exception() is None and (unused := ahead.result()) is not None:
                    unused[2].close()

    def _load_next(self, work: Iterator[Todo]) -> Loaded | None:
        for history, questions in work:
            return history, questions, self._answerer.load(history)
        return None

    def _questions(
        self, pool: ThreadPoolExecutor, history: History, questions: list[Question], reader: Reader
    ) -> None:
        """Ask all questions of one history, unless the run has to stop."""
        shared = _Shared(reader)
        try:
            self._count_build(reader.build)
            reserve = self._bound(history)
            for question in questions:
                self._raise_bug()
                if self._stopped or not self._reserve(reserve):
                    return
                self._wait_for_slot()
                shared.take()
                with self._finished:
                    self._under_way += 1
                future = pool.submit(self._ask, reader, question)
                future.add_done_callback(lambda done: self._finish(done, reserve, shared))
        finally:
            shared.drop()

    def _bound(self, history: History) -> float:
        return self._price(*self._answerer.bound(history)) or 0.0

    def _reserve(self, usd: float) -> bool:
        """Set ``usd`` aside. Where it does not fit, what is under way may still turn out cheaper
        than what was set aside for it."""
        with self._finished:
            while not self._purse.reserve(usd):
                if not self._under_way:
                    self._stopped = _CAP_REACHED
                    return False
                self._finished.wait()
        return True

    def _count_build(self, build: Build) -> None:
        """Record what loading has cost, all parts of the run together, and pay what is new."""
        known = self._writer.run.builds.get(build.history)
        if not (build.usage or build.failed or known):
            return
        if known is None or (known.usage, known.failed) != (build.usage, build.failed):
            self._writer.add(build)
            usd, before = usd_of(build.usage), usd_of(known.usage) if known else 0.0
            self._pay(0.0, None if usd is None or before is None else usd - before)

    def _ask(self, reader: Reader, question: Question) -> Record:
        from hymem.errors import HyMemError

        started = time.perf_counter()
        try:
            return reader.answer(question)
        except HyMemError as error:
            seconds = time.perf_counter() - started
            return Record(
                question.id,
                question.group,
                "",
                mode=self._answerer.model,
                seconds=seconds,
                error=f"{type(error).__name__}: {error}",
            )

    def _finish(self, future: Future[Record], reserved: float, shared: _Shared) -> None:
        self._waiting.release()
        try:
            if not future.cancelled():
                record = future.result()
                self._writer.add(record)
                self._pay(reserved, usd_of(record.usage))
                with self._lock:
                    self._count(record.error)
                self._advance()
        except BaseException as error:  # a callback's exception would be logged and lost
            self._bug = error
        finally:
            shared.drop()
            with self._finished:
                self._under_way -= 1
                self._finished.notify_all()

    def _count(self, error: str | None) -> None:
        if error is None:
            self.answered += 1
            self._in_a_row = 0
            return
        self.failed += 1
        self._in_a_row += 1
        if self._in_a_row == FAILURES_IN_A_ROW:
            self._stopped = f"{self._in_a_row} questions in a row failed, the last with {error}"

    def _pay(self, reserved: float, usd: float | None) -> None:
        self._purse.settle(reserved, usd or 0.0)
        with self._lock:
            self.usd = None if usd is None or self.usd is None else self.usd + usd

    def _wait_for_slot(self) -> None:
        self._waiting.acquire()
        if self._gap:
            time.sleep(max(0.0, self._next - time.monotonic()))
            self._next = max(self._next, time.monotonic()) + self._gap

    def _raise_bug(self) -> None:
        if self._bug is not None:
            raise self._bug


class _Shared:
    """A reader that is closed when its last user drops it; whoever made this is the first."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._users = 1
        self._lock = threading.Lock()

    def take(self) -> None:
        with self._lock:
            self._users += 1

    def drop(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self.reader.close()


# -- before it is paid ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prediction:
    """The bill of what is still to be asked. ``ratio`` turned our token counts into the endpoint's;
    it was learned from ``calibrated_on`` records of this run, or is 1. ``margin95``: so many input
    tokens of the questions are uncertain, judged by how the ratio varies among these records."""

    questions: int
    calls: int
    input_tokens: int
    output_tokens: int
    build_input_tokens: int
    usd: float | None
    ratio: float
    calibrated_on: int
    margin95: int | None


def predict(
    task: Task,
    answerer: Answerer,
    counter: CountingLLM,
    run: Run | None,
    *,
    price: Callable[[int, int], float | None],
    limit: int | None = None,
    advance: Callable[[], object] = lambda: None,
) -> Prediction:
    """Walk through all questions with ``counter`` in the model's place (``answerer`` must use it),
    and scale its counts by what the answered ones really took.

    A run of a few questions first makes the prediction exact to a few per cent: the endpoint's own
    tokenizer, and how often its model asks for the deep tier, are then known.
    """
    answered: Mapping[str, Record] = (
        {} if run is None else {record.question: record for record in run.answered}
    )
    counted: list[tuple[int, int]] = []  # of those answered: our count, and the endpoint's
    counted_open = build = calls = questions = 0
    for history, items in todo(task, set(), limit):
        before = counter.input_tokens
        reader = answerer.load(history)
        if run is None or history.id not in run.builds:
            build += counter.input_tokens - before
        try:
            for question in items:
                before, calls_before = counter.input_tokens, counter.calls
                reader.answer(question)
                spent = counter.input_tokens - before
                if question.id in answered:
                    counted.append((spent, tokens_of(answered[question.id].usage)))
                else:
                    questions += 1
                    counted_open += spent
                    calls += counter.calls - calls_before
                advance()
        finally:
            reader.close()
    ratio, error = ratio_estimate(counted, counted_open, questions)
    said = sum(tokens_of(record.usage, "output_tokens") for record in answered.values())
    output = questions * (said / len(answered) if answered else ASSUMED_OUTPUT)
    sent, build = round(ratio * counted_open), round(ratio * build)
    usd = price(sent + build, round(output))
    margin = None if error is None else round(1.96 * error)
    return Prediction(
        questions, calls, sent, round(output), build, usd, ratio, len(counted), margin
    )


def ratio_estimate(
    pairs: Sequence[tuple[float, float]], total: float, n: int
) -> tuple[float, float | None]:
    """The ratio of the second to the first of ``pairs`` (1 without any), and the standard error of
    the ratio times ``total``, the sum of ``n`` more firsts; ``None`` from fewer than two pairs."""
    whole = sum(first for first, _ in pairs)
    if not whole:
        return 1.0, None
    ratio = sum(second for _, second in pairs) / whole
    if len(pairs) < 2:
        return ratio, None
    square = sum((second - ratio * first) ** 2 for first, second in pairs) / (len(pairs) - 1)
    of_ratio = math.sqrt(len(pairs) * square) / whole
    return ratio, math.sqrt((total * of_ratio) ** 2 + n * square)
