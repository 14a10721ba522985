"""Streams that can be closed from another thread than the one that reads them."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Arrivals(Generic[T]):
    """Items as they come in over the network, whether or not they are taken: a reader who pauses
    keeps no connection, and no slot, for longer than the items take to come.

    ``start``: begins the work, which puts each item by the function that it is given, and returns
    its future, whose result is ``None`` or the error that ended it. Nothing begins before the first
    item is asked for. Dropping or closing the iterator ends the work; whoever waits for an item in
    another thread then gets ``GeneratorExit``, as the reader of a closed generator does.
    """

    def __init__(self, start: Callable[[Callable[[T], None]], Future[Exception | None]]) -> None:
        self._start = start
        # An item in a list of one, or the future when there is nothing more.
        self._items: SimpleQueue[list[T] | Future[Exception | None]] = SimpleQueue()
        self._work: Future[Exception | None] | None = None
        self._closed = False
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        self._begin()
        item = self._items.get()
        if isinstance(item, list):
            return item[0]
        self._items.put(item)  # for whoever asks again
        try:
            error = item.result()
        except CancelledError:
            raise GeneratorExit from None
        if error is not None:
            raise error
        raise StopIteration

    def close(self) -> None:
        """End the work. Safe to call twice, and from any thread."""
        with self._lock:
            self._closed = True
        if self._work is not None:
            self._work.cancel()

    def _begin(self) -> None:
        with self._lock:
            if self._work is not None:
                return
            if self._closed:
                raise StopIteration
            items = self._items
            self._work = self._start(lambda item: items.put([item]))
        weakref.finalize(self, self._work.cancel).atexit = False
        self._work.add_done_callback(items.put)


class Closable(Generic[T]):
    """A generator over ``source`` whose ``close`` may be called while another thread waits in it:
    it then closes ``source``, and the generator leaves by ``GeneratorExit`` as it always does."""

    def __init__(self, generator: Generator[T, Any, None], source: Any) -> None:
        self._generator, self._source = generator, source

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        return next(self._generator)

    def close(self) -> None:
        """End the stream. Safe to call twice."""
        # A generator of somebody else's may only be closed while nobody is in it.
        for one in (self._source, self._generator):
            if hasattr(one, "close"):
                with suppress(ValueError):
                    one.close()
