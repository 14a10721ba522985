"""The HTTP client under the SDK: one attempt at a request, bounded in time and size.

The SDK's own time-out is for each read, so that an endpoint which sends a byte now and then is
never given up; and it reads whatever comes. Imported only when an endpoint is called.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import aclosing
from importlib import import_module
from typing import Any

import openai

from hymem.system.redact import hide

_LOGGERS = [
    "openai._base_client",
    *(f"httpx{version}" for version in ("", "2")),
    *(f"httpcore{version}.{part}" for version in ("", "2") for part in ("connection", "http11")),
]
_ENCODED = {"content-encoding", "content-length", "transfer-encoding"}


class AttemptClient(openai.DefaultAsyncHttpxClient):
    """``seconds``: for an attempt from connecting to the last byte; of a stream, to its beginning,
    and then for each wait. ``limit``: how many bytes of a body are read at most, one more
    included, so that the reader sees that it was longer. ``secrets`` are kept out of the logs of
    the libraries below, which quote the headers that an endpoint sends.

    Redirects are not followed: a conversation goes nowhere but to the address that was given.
    """

    def __init__(self, seconds: float, limit: int, secrets: Iterable[str]) -> None:
        super().__init__(timeout=seconds, follow_redirects=False)
        self._seconds, self._limit = seconds, limit
        _logs.guard(secrets)

    async def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """As the base class, but the body of the response is there already, except for a stream
        that began well."""
        http = _library(request)
        try:
            async with asyncio.timeout(self._seconds):
                response = await super().send(request, stream=True, **options)
                if stream and response.is_success:
                    return response
                try:
                    body = await self._read(response)
                finally:
                    await response.aclose()
        except TimeoutError:  # in the words that the SDK tries again upon
            raise http.ReadTimeout("the attempt took too long", request=request) from None
        headers = [
            (name, value)
            for name, value in response.headers.multi_items()
            if name.lower() not in _ENCODED
        ]
        return http.Response(response.status_code, headers=headers, content=body, request=request)

    async def _read(self, response: Any) -> bytes:
        body = bytearray()
        async with aclosing(response.aiter_bytes()) as parts:
            async for part in parts:
                body += part
                if len(body) > self._limit:
                    break
        return bytes(body[: self._limit + 1])


class _Logs(logging.Filter):
    """Hides the secrets of all endpoints in what other libraries log."""

    def __init__(self) -> None:
        super().__init__()
        self._secrets: set[str] = set()

    def guard(self, secrets: Iterable[str]) -> None:
        self._secrets |= set(secrets)
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)  # once: it knows those that it has

    def filter(self, record: logging.LogRecord) -> bool:
        said = record.getMessage()
        if (shown := hide(said, sorted(self._secrets))) != said:
            record.msg, record.args = shown, ()
        return True


_logs = _Logs()


def _library(request: Any) -> Any:
    """``httpx`` or, in newer versions of the SDK, ``httpx2``."""
    return import_module(type(request).__module__.partition(".")[0])
