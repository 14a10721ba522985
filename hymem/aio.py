"""``AsyncHyMem``: the same memory for asyncio applications.

There is one implementation, the synchronous one. Each call runs on a worker thread, so the event
loop is never blocked by the disk, by numpy or by a model's answer.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from hymem.errors import StoreClosedError
from hymem.memory import HyMem
from hymem.types import Config, Encoder

P = ParamSpec("P")
R = TypeVar("R")

# Enough for the requests of a busy chat server to wait for their models side by side.
THREADS = 32
_END: Any = object()


def _twin(
    method: Callable[Concatenate[HyMem, P], R],
) -> Callable[Concatenate[AsyncHyMem, P], Coroutine[Any, Any, R]]:
    """The awaitable twin of a method: same name, arguments, result, errors and docstring."""

    async def call(self: AsyncHyMem, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._run(functools.partial(method, self._memory, *args, **kwargs))

    functools.update_wrapper(call, method)
    return call


class AsyncHyMem:
    """``HyMem`` with awaitable methods; the same arguments, results and errors.

    ::

        async with AsyncHyMem("chat.db") as memory:
            await memory.add("I moved to Lyon last week.", user_id="ana")
            context = await memory.recall("Where does Ana live?", user_id="ana")

    ``chat_stream`` is an async iterator: ``async for piece in memory.chat_stream(...)``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._memory = HyMem(*args, **kwargs)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="hymem-async")
        self._closed = False

    @property
    def config(self) -> Config:
        """As ``HyMem.config``."""
        return self._memory.config

    @property
    def encoder(self) -> Encoder:
        """The encoder in use."""
        return self._memory.encoder

    add = _twin(HyMem.add)
    flush = _twin(HyMem.flush)
    search = _twin(HyMem.search)
    recall = _twin(HyMem.recall)
    ask = _twin(HyMem.ask)
    chat = _twin(HyMem.chat)
    get = _twin(HyMem.get)
    get_all = _twin(HyMem.get_all)
    update = _twin(HyMem.update)
    delete = _twin(HyMem.delete)
    delete_all = _twin(HyMem.delete_all)
    delete_user = _twin(HyMem.delete_user)
    scopes = _twin(HyMem.scopes)
    users = _twin(HyMem.users)
    history = _twin(HyMem.history)
    export = _twin(HyMem.export)
    import_ = _twin(HyMem.import_)
    backup = _twin(HyMem.backup)
    compact = _twin(HyMem.compact)
    costs = _twin(HyMem.costs)
    status = _twin(HyMem.status)

    @functools.wraps(HyMem.chat_stream)
    async def chat_stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[str]:
        pieces: Any = await self._run(functools.partial(self._memory.chat_stream, *args, **kwargs))
        try:
            while (piece := await self._run(functools.partial(next, pieces, _END))) is not _END:
                yield piece
        finally:
            # A reader who leaves or is cancelled frees the model at once, also while a thread waits
            # for the next piece. Not on the threads of the calls, all of which may be waiting.
            await asyncio.shield(asyncio.to_thread(pieces.close))

    async def close(self) -> None:
        """As ``HyMem.close``."""
        self._closed = True
        # Not on the threads of the calls, all of which may be waiting for a model.
        await asyncio.to_thread(self._memory.close)
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> AsyncHyMem:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _run(self, call: Callable[[], R]) -> R:
        if self._closed:
            raise StoreClosedError
        # As asyncio.to_thread: the caller's context variables are seen on the thread too.
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, context.run, call)
