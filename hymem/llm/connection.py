"""The way to an endpoint of the OpenAI protocol: deadlines, slots, and errors without secrets.

The SDK retries 408, 409, 429, 5xx, time-outs and dropped connections with exponential back-off and
jitter, and waits as long as a ``Retry-After`` of up to two minutes says, in seconds or as a date.
"""

from __future__ import annotations

import asyncio
import base64
import os
import time
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit, urlunsplit

from hymem.errors import InputError, LLMError
from hymem.inputs.checks import check_count, check_seconds
from hymem.llm import loop
from hymem.llm.protocol import OddReplyError
from hymem.llm.slots import Slots
from hymem.llm.waits import at_most
from hymem.system import forks
from hymem.system.redact import redact

if TYPE_CHECKING:
    from openai import AsyncOpenAI

T = TypeVar("T")

OPENAI = "https://api.openai.com/v1"
# The deadline of a call, unless one is given, in time-outs of one attempt.
ATTEMPTS_PER_CALL = 5


class StatusError(LLMError):
    """The endpoint answered with an HTTP error; ``status`` is its number."""

    def __init__(self, message: str, status: int) -> None:
        # 400, 413 and 422 are the request's fault (too long, say), not the endpoint's.
        down = status not in (400, 413, 422)
        super().__init__(message, down=down, hint=f"the endpoint answered {status}")
        self.status = status


@dataclass(frozen=True, slots=True, repr=False)
class _Address:
    url: str
    key: str
    headers: dict[str, str]
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Live:
    """What belongs to one event loop."""

    loop: asyncio.AbstractEventLoop
    client: AsyncOpenAI
    slots: Slots | None


class Connection:
    """One endpoint, shared by threads; never shows its key.

    ``timeout``: seconds for one attempt. ``deadline``: seconds for a call, with the wait for a
    slot, all attempts and the waits between them (default: five times ``timeout``).
    ``concurrency``: calls at once, of either kind of ``hymem.llm.slots``; ``None`` for any number.
    ``limit``: bytes of a reply. Everything is made when it is first needed.

    Raises ``InputError`` for numbers that cannot be, and for a ``base_url`` that is no web address
    or has a query, which would stand in logs.
    """

    def __init__(
        self,
        base_url: str | None,
        api_key: str | None,
        *,
        timeout: float,
        deadline: float | None,
        max_retries: int,
        concurrency: int | None,
        limit: int,
    ) -> None:
        check_seconds(timeout, "timeout")
        check_seconds(timeout if deadline is None else deadline, "deadline")
        check_count(max_retries, "max_retries", least=0)
        check_count(1 if concurrency is None else concurrency, "concurrency", least=1)
        if base_url is not None:
            _address(base_url, api_key)  # a bad one is told here, not at the first call
        self._given = base_url, api_key
        self._timeout, self._max_retries = timeout, max_retries
        self._deadline = ATTEMPTS_PER_CALL * timeout if deadline is None else deadline
        self._concurrency, self._limit = concurrency, limit
        self._live: _Live | None = None

    @property
    def base_url(self) -> str:
        """Where the calls go, without a password. Raises ``LLMError`` when OpenAI itself is meant
        and no key is known."""
        return self._address.url

    def end(self) -> float:
        """When a call that begins now must have ended, by ``time.monotonic``."""
        with forks.working():  # the child of a fork could never import what was half imported
            import hymem.llm.attempt  # noqa: F401  (loads the SDK, for which no call should pay)

        return time.monotonic() + at_most(self._deadline)

    def call(self, work: Callable[[AsyncOpenAI], Awaitable[T]], end: float) -> T:
        """What ``work`` makes of the client, within a slot. Raises ``LLMError``: ``StatusError``
        where the endpoint answered with one."""
        outcome = loop.run(self._outcome(work, end))
        if isinstance(outcome, LLMError):
            raise outcome
        return outcome

    def start(
        self, work: Callable[[AsyncOpenAI], Awaitable[T]], end: float
    ) -> Future[T | LLMError]:
        """As ``call``, without waiting: the future holds the result or the error."""
        return loop.submit(self._outcome(work, end))

    def failure(self, odd: OddReplyError) -> LLMError:
        """The error of a reply that is none."""
        return LLMError(self._redact(f"the endpoint sent {odd}"))

    async def _outcome(
        self, work: Callable[[AsyncOpenAI], Awaitable[T]], end: float
    ) -> T | LLMError:
        """Errors are returned, not raised: an exception that is raised anew drags the SDK's along,
        and with it the request and its headers."""
        try:
            async with asyncio.timeout(max(0.0, end - time.monotonic())):
                live = self._on_this_loop()
                if live.slots is None:
                    return await work(live.client)
                async with live.slots.mine:
                    return await work(live.client)
        except LLMError as error:
            return error
        except OddReplyError as error:
            return self.failure(error)
        except TimeoutError:
            hint = f"no reply within {at_most(self._deadline):g} s"
            text = f"{hint}, the waits for a slot and between attempts included"
            return LLMError(text, down=True, hint=hint)
        except Exception as error:  # the SDK lets errors of its HTTP library through
            return self._explained(error)

    def _on_this_loop(self) -> _Live:
        """A fork's child makes its own: connections are the parent's."""
        running = asyncio.get_running_loop()
        if self._live is None or self._live.loop is not running:
            client = self._connect()
            slots = None if self._concurrency is None else Slots(self._concurrency)
            self._live = _Live(running, client, slots)
            weakref.finalize(self, _close, running, client).atexit = False
        return self._live

    def _connect(self) -> AsyncOpenAI:
        import openai

        from hymem.llm.attempt import AttemptClient

        address = self._address
        return openai.AsyncOpenAI(
            api_key=address.key,
            base_url=address.url,
            timeout=self._timeout,
            max_retries=self._max_retries,
            default_headers=address.headers,
            http_client=AttemptClient(self._timeout, self._limit, address.secrets),
        )

    @cached_property
    def _address(self) -> _Address:
        base_url, api_key = self._given
        key = api_key or os.environ.get("OPENAI_API_KEY")
        other = base_url or os.environ.get("OPENAI_BASE_URL")
        if not key and not other:
            raise LLMError(
                "no key for the OpenAI API: set OPENAI_API_KEY, or pass api_key, or "
                "base_url for a local model",
                down=True,
            )
        return _address(other or OPENAI, key)

    def _explained(self, error: Exception) -> LLMError:
        """The one place where the SDK's errors become ours."""
        import openai

        if isinstance(error, openai.AuthenticationError):
            text = "the endpoint refused the API key (401); check api_key or OPENAI_API_KEY"
            return StatusError(text, error.status_code)
        if isinstance(error, openai.APITimeoutError):
            hint = f"no reply within {self._timeout:g} s"
            return LLMError(f"{hint}, retries included", down=True, hint=hint)
        if isinstance(error, openai.APIStatusError):
            text = f"the endpoint answered {error.status_code}: {error.message}"
            if error.status_code < 400:
                text += "; redirects are not followed, so set base_url to where they lead"
            return StatusError(self._redact(text), error.status_code)
        cause = error.__cause__ or error
        host = urlsplit(self.base_url).netloc
        problem = self._redact(f"{type(error).__name__}: {cause}")
        hint = f"the connection to {host} failed"
        return LLMError(f"{hint}: {problem}", down=True, hint=hint)

    def _redact(self, text: str) -> str:
        return redact(text, self._address.secrets)


def _address(url: str, key: str | None) -> _Address:
    """Name and password leave the URL, which stands in logs and errors, for a header. A query may
    be a key, and is refused: paths are added behind it. Neither is shown."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else None
    except ValueError:
        parts = None
    if parts is None:
        raise InputError("base_url is no web address, such as http://localhost:11434/v1")
    if parts.query or parts.fragment:
        raise InputError(
            "base_url has a query or a fragment (what follows ? or #); leave it out, and pass a "
            "key as api_key"
        )
    given, _, host = parts.netloc.rpartition("@")
    path = parts.path.rstrip("/") + "/"
    plain = urlunsplit((parts.scheme, host, path, "", ""))
    if not given:
        # Local servers want no key, but the SDK wants one.
        return _Address(plain, key or "none", {}, (key,) if key else ())
    user, _, password = (unquote(part) for part in given.partition(":"))
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    secrets = (basic, password, given.partition(":")[2], *([key] if key else []))
    return _Address(plain, key or "none", {"Authorization": f"Basic {basic}"}, secrets)


def _close(running: asyncio.AbstractEventLoop, client: Any) -> None:
    """Called when the connection is dropped, in whatever thread."""
    if running is loop.current():
        loop.submit(client.close())
