"""Takes keys and passwords out of what others wrote: errors quote requests, headers, settings."""

from __future__ import annotations

import asyncio
import re
import threading
import traceback
from collections.abc import Callable, Iterable
from typing import TypeVar

from hymem.errors import HyMemError

T = TypeVar("T")
Ours = TypeVar("Ours", bound=HyMemError)

HIDDEN = "[hidden]"
# An error is read by people; what is longer is a page or an echo of the request.
SHOWN_CHARACTERS = 500
# Looked through for secrets before the text is cut to what is shown.
_SEARCHED_CHARACTERS = 20_000
# So much of a secret in a row gives it away; shorter ones are hidden only as whole words.
_PART = 8
_SHORTEST = 4

# What keys look like, for those that nobody told us.
_LOOKS_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|hf|xai|r8|ghp)[-_][\w-]{8,}"
    r"|\bAIza[\w-]{20,}"  # Google
    r"|\bA[KS]IA[A-Z0-9]{16}\b"  # the ids of Amazon's access keys
    r"|(?<![\w-])eyJ[\w-]{5,}\.[\w-]{5,}\.[\w-]*"  # JSON web tokens
    r"|(?<=bearer )\S+|(?<=basic )\S+"
    r"|(?<=://)[^\s/@]+(?=@)"
    r"""|(?:(?<=api_key)|(?<=api-key)|(?<=apikey)|(?<=password)|(?<=secret)|(?<=access_token))"""
    r"""(?:["']?\s*[=:]\s*["']?)[^\s"',;}&]+""",
    re.IGNORECASE,
)


def foreign() -> tuple[type[BaseException], ...]:
    """What somebody else's code may raise that concerns its call alone: on the main thread not what
    leaves the program, as a signal's handler does; no other thread can leave it."""
    if threading.current_thread() is threading.main_thread():
        return Exception, asyncio.CancelledError, GeneratorExit
    return (BaseException,)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """``text``, at most ``SHOWN_CHARACTERS`` long, without ``secrets``, their parts, and whatever
    looks like one."""
    return hide(text[:_SEARCHED_CHARACTERS], secrets)[:SHOWN_CHARACTERS]


def hide(text: str, secrets: Iterable[str] = ()) -> str:
    """As ``redact``, in full length."""
    for secret in secrets:
        text = _hide(text, secret)
    return _LOOKS_SECRET.sub(HIDDEN, text)


def tell(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """The error's kind and words, redacted."""
    try:
        words = str(error)
    except Exception:  # an error of somebody else's may fail even at this
        words = ""
    kind = type(error).__name__
    return redact(f"{kind}: {words}" if words else kind, secrets)


def brief(error: BaseException) -> str:
    """What a log may hold of an error: its kind and what HyMem itself says of it. Its message may
    quote a conversation, which would then outlive its deletion."""
    hint = error.hint if isinstance(error, HyMemError) else ""
    for cause in (error, error.__cause__):  # what SQLite and the system call it quotes nobody
        hint = hint or getattr(cause, "sqlite_errorname", "") or getattr(cause, "strerror", "")
    return f"{type(error).__name__}: {hint}" if hint else type(error).__name__


def trace(error: BaseException) -> str:
    """Where an error comes from, for a log: without its message, see ``brief``."""
    return hide("".join(traceback.format_tb(error.__traceback__))) + brief(error)


def safe_cause(error: BaseException, secrets: Iterable[str] = ()) -> BaseException | None:
    """``error``, to be chained to one of ours, if its printed traceback holds no secret; else
    ``None``."""
    try:
        printed = "".join(traceback.format_exception(error))
    except Exception:
        return None
    return error if hide(printed, secrets) == printed else None


def secrets_of(thing: object) -> list[str]:
    """The keys that an object holds as pydantic does secrets, or under a name that says so."""
    found = []
    for name, value in getattr(thing, "__dict__", {}).items():
        if hasattr(value, "get_secret_value"):
            found.append(str(value.get_secret_value()))
        elif isinstance(value, str) and re.search("key|token|secret|password", name):
            found.append(value)
    return found


def as_ours(kind: type[Ours], who: str, error: BaseException, secrets: Iterable[str] = ()) -> Ours:
    """An error of ``kind`` that says what ``who`` raised. To be raised outside of ``except``, where
    Python chains nothing to it by itself."""
    ours = kind(f"{who}: {tell(error, secrets)}")
    ours.hint = type(error).__name__
    ours.__cause__ = safe_cause(error, secrets)
    return ours


def as_exception(error: BaseException) -> Exception:
    """``error``, or one of ours that tells of it, to be kept: it may be one that ends threads."""
    return error if isinstance(error, Exception) else as_ours(HyMemError, "it raised", error)


def guarded(
    kind: type[Ours], who: str, call: Callable[[], T], secrets: Callable[[], Iterable[str]] = tuple
) -> T:
    """What ``call``, somebody else's code, returns; an error that is not ours becomes ``kind``."""
    try:
        return call()
    except HyMemError:
        raise
    except foreign() as error:
        failure = as_ours(kind, who, error, secrets())
    raise failure


def _hide(text: str, secret: str) -> str:
    if len(secret) < _PART:
        whole = rf"(?<!\w){re.escape(secret)}(?!\w)"
        return text if len(secret) < _SHORTEST else re.sub(whole, HIDDEN, text)
    parts = {secret[i : i + _PART] for i in range(len(secret) - _PART + 1)}
    shown, end = [], 0
    place = 0
    while place <= len(text) - _PART:
        if text[place : place + _PART] not in parts:
            place += 1
            continue
        shown += [text[end:place], HIDDEN]
        place += _PART
        while place < len(text) and text[place - _PART + 1 : place + 1] in parts:
            place += 1
        end = place
    return "".join([*shown, text[end:]])
