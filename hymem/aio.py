"""``AsyncHyMem``: the same memory for asyncio applications.

There is one implementation, the synchronous one. Each call runs on a worker thread, so the event
loop is never blocked by the disk, by numpy or by a model's answer. Calls that wait for one thing (a
model, the write lock, a long copy) share no threads with calls that need another, so that a crowd
of one kind keeps no other kind waiting.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from hymem.cost.ledger import MeteredEncoder
from hymem.errors import StoreClosedError
from hymem.memory import HyMem
from hymem.system import forks
from hymem.system.pool import Pool
from hymem.system.turns import Turns
from hymem.types import Config, Encoder

P = ParamSpec("P")
R = TypeVar("R")

# Quick calls share the processors, but for those that wait for a remote encoder.
QUICK_THREADS, REMOTE_THREADS = 8, 32
# Enough for the requests of a busy chat server to wait for their models side by side.
MODEL_THREADS = 64
_KINDS = {
    "write": {"add", "update", "delete"},  # wait for whoever writes, in any process
    "change": {"delete_all", "delete_user", "import_", "compact"},  # the same, and take long
    "copy": {"export", "backup"},  # take long, and wait for nobody
    "model": {"ask", "chat", "chat_stream", "flush"},
}
# They come in crowds, which must not compute all at once.
_IN_TURNS = {"ask", "chat", "chat_stream"}
COMPUTING = 2
_END: Any = object()


def _twin(
    method: Callable[Concatenate[HyMem, P], R],
) -> Callable[Concatenate[AsyncHyMem, P], Coroutine[Any, Any, R]]:
    """The awaitable twin of a method: same name, arguments, result, errors and docstring."""

    async def call(self: AsyncHyMem, /, *args: P.args, **kwargs: P.kwargs) -> R:
        work = functools.partial(method, self._memory, *args, **kwargs)
        if method.__name__ in _IN_TURNS:
            return await self._ask_model(work)
        asks = bool(kwargs.get("wait") or kwargs.get("deep"))
        return await self._run(work, "model" if asks else _kind(method.__name__))

    functools.update_wrapper(call, method)
    return call


def _kind(method: str) -> str:
    return next((kind for kind, methods in _KINDS.items() if method in methods), "read")


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
        remote = isinstance(self._memory.encoder, MeteredEncoder)
        quick = REMOTE_THREADS if remote else QUICK_THREADS
        sizes = dict.fromkeys(("read", *_KINDS), quick) | {"model": MODEL_THREADS}
        self._pools = {kind: Pool(size, f"hymem-async-{kind}") for kind, size in sizes.items()}
        self._turns = Turns(COMPUTING)
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
        work = functools.partial(self._memory.chat_stream, *args, **kwargs)
        pieces: Any = await self._ask_model(work)
        try:
            read = functools.partial(next, pieces, _END)
            while (piece := await self._ask_model(read)) is not _END:
                yield piece
        finally:
            # A reader who leaves or is cancelled frees the model at once, also while a thread waits
            # for the next piece.
            await asyncio.shield(_on(self._pools["write"], pieces.close))

    async def close(self) -> None:
        """As ``HyMem.close``."""
        self._closed = True
        # Not on the threads of the calls, all of which may be waiting.
        await _on(Pool(1, "hymem-close"), self._memory.close)

    async def __aenter__(self) -> AsyncHyMem:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _ask_model(self, call: Callable[[], R]) -> R:
        def in_turn() -> R:
            with forks.working(), self._turns.taken():
                return call()

        return await self._run(in_turn, "model")

    async def _run(self, call: Callable[[], R], kind: str) -> R:
        if self._closed:
            raise StoreClosedError
        return await _on(self._pools[kind], call)


async def _on(pool: Pool, call: Callable[[], R]) -> R:
    return await asyncio.wrap_future(pool.submit(call))
