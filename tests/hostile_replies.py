"""What a broken, odd or hostile endpoint may answer: whole HTTP responses, byte by byte.

``ANY`` is for every kind of request; ``MESSAGES``, ``CHUNKS`` and ``VECTORS`` are for chats,
streams and embeddings. What the client is to make of each stands beside it: ``FAILS`` if it must
raise, else the text that it must get.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

from openai_server import KEY, Raw

FAILS = None
GOOD = '{"city": "Lyon", "year": 2026}'


def http(
    body: bytes | str,
    status: str = "200 OK",
    kind: str = "application/json",
    headers: bytes = b"",
    length: int | None = None,
) -> Raw:
    body = body.encode() if isinstance(body, str) else body
    # What stands for the key is shorter than it: such a body ends where the connection does.
    size = len(body) if length is None else length
    sized = b"" if KEY in body else b"Content-Length: %d\r\n" % size
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n".encode()
    return Raw([head + headers + sized + b"\r\n", body])


def drip(head: bytes, drop: bytes, times: int = 40) -> Raw:
    """``head``, then ``drop`` ten times a second."""
    return Raw([head, *[part for _ in range(times) for part in (drop, 0.1)]])


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_CHUNKED = _HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
_LONG = _HEAD + b"Content-Length: 100000\r\n\r\n"
_PAGE = "<html><body>502 Bad Gateway</body></html>"
_ECHO = b'{"error": {"message": "not for you: ' + KEY + b'"}}'
_MEGABYTE = b"A" * 1_000_000

ANY: dict[str, Raw] = {
    "a web page": http(_PAGE, kind="text/html"),
    "a web page as JSON": http(_PAGE),
    "nothing": http(""),
    "no content": http("", "204 No Content"),
    "spaces": http(" " * 1000),
    "null": http("null"),
    "a number": http("42"),
    "a text": http('"hello"'),
    "a list": http("[1, 2, 3]"),
    "an empty object": http("{}"),
    "not a number": http("NaN"),
    "bad UTF-8": http(b'{"choices": "\xff\xfe\x80"}'),
    "UTF-16": http('{"choices": []}'.encode("utf-16-le")),
    "JSON cut short": http('{"choices": [{"index": 0, "mess'),
    "deep lists": http("[" * 100_000 + "]" * 100_000),
    "deep objects": http('{"choices": ' * 50_000 + "1" + "}" * 50_000),
    "a number of 5000 digits": http('{"choices": ' + "9" * 5000 + "}"),
    "an endless body": Raw([_HEAD + b"\r\n", *[_MEGABYTE] * 40]),
    "an endless JSON text": Raw([_HEAD + b'\r\n{"choices": "', *[_MEGABYTE] * 40]),
    "a bomb": http(gzip.compress(bytes(80_000_000)), headers=b"Content-Encoding: gzip\r\n"),
    "no gzip": http("plain", headers=b"Content-Encoding: gzip\r\n"),
    "unknown encoding": http("plain", headers=b"Content-Encoding: rot13\r\n"),
    "no charset": http("plain", kind="text/plain; charset=no-such"),
    "an error with status 200": http(b'{"error": {"message": "overloaded ' + KEY + b'"}}'),
    "an error text with status 200": http('{"error": "overloaded"}'),
    "an error number with status 200": http('{"error": 503}'),
    "dripping headers": drip(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "a dripping status": drip(b"", b"H"),
    "a dripping body": drip(_LONG, b" "),
    "dripping chunks": drip(_CHUNKED, b"1\r\n \r\n"),
    "dripping patience": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "silence": Raw([3.0]),
    "silence after the headers": Raw([_LONG, 3.0]),
    "cut at once": Raw([]),
    "cut in the headers": Raw([b"HTTP/1.1 200 OK\r\nContent-Ty"]),
    "cut in the body": Raw([_LONG + b'{"choices": [']),
    "cut in a chunk": Raw([_CHUNKED + b"20\r\nabc"]),
    "no HTTP": Raw([b"SSH-2.0-OpenSSH_9.6\r\n"]),
    "an old protocol": Raw([b"HTTP/0.9 200 OK\r\n\r\n{}"]),
    "a status that is none": http("{}", "999999 What"),
    "a long header": http("{}", headers=b"X-Long: " + b"a" * 300_000 + b"\r\n"),
    "chunks of no length": Raw([_CHUNKED + b"zz\r\nabc\r\n"]),
    "two lengths": http("{}", headers=b"Content-Length: 7\r\n"),
    "a redirect": http("", "302 Found", headers=b"Location: http://127.0.0.1:9/steal\r\n"),
    "a redirect of posts": http("", "307 Moved", headers=b"Location: http://127.0.0.1:9/steal\r\n"),
    "a redirect to nowhere": http("", "301 Moved", headers=b"Location: ://\r\n"),
    "400 with the key": http(_ECHO, "400 Bad Request"),
    "401 with the key": http(_ECHO, "401 Unauthorized"),
    "403 with the key": http(_ECHO, "403 Forbidden"),
    "404 with the key in a page": http(b"<html>" + KEY + b"</html>", "404 Not Found", "text/html"),
    "422 with the key": http(_ECHO, "422 Unprocessable"),
    "429 with the key in a header": http("{}", "429 Slow", headers=b"X-Echo: " + KEY + b"\r\n"),
    "500 with the key in all places": http(
        _ECHO, "500 Internal", headers=b"X-Request-Id: " + KEY + b"\r\nX-Auth: " + KEY + b"\r\n"
    ),
    "500 of a megabyte": http(_MEGABYTE, "500 Internal", "text/plain"),
    "500 without end": Raw([b"HTTP/1.1 500 Internal\r\n\r\n", *[_MEGABYTE] * 40]),
    "503 with an odd error": http('{"error": [1, {"message": null}]}', "503 Unavailable"),
    "418": http("{}", "418 Teapot"),
}


def _completion(**message: Any) -> str:
    return _answer({"role": "assistant", "content": GOOD, **message})


def _answer(message: Any, **fields: Any) -> str:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], **fields})


def _said(usage: Any = None, finish: Any = "stop") -> str:
    choice = {"index": 0, "message": {"content": GOOD}, "finish_reason": finish}
    return json.dumps({"choices": [choice], "usage": usage})


def _usage(value: Any) -> dict[str, Any]:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    return dict.fromkeys(names, value) | {"prompt_tokens_details": {"cached_tokens": value}}


_PARTS = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": GOOD}]

MESSAGES: dict[str, tuple[str, str | None]] = {
    "no choices": ('{"choices": []}', FAILS),
    "choices that are null": ('{"choices": null}', FAILS),
    "choices that are a text": ('{"choices": "a"}', FAILS),
    "a choice that is null": ('{"choices": [null]}', FAILS),
    "a choice without a message": ('{"choices": [{"index": 0}]}', FAILS),
    "a message that is null": (_answer(None), FAILS),
    "a message that is a list": (_answer([1]), FAILS),
    "content that is null": (_completion(content=None), FAILS),
    "content that is empty": (_completion(content=" "), FAILS),
    "content that is a number": (_completion(content=42), FAILS),
    "content that is true": (_completion(content=True), FAILS),
    "content that is an object": (_completion(content={"text": GOOD}), FAILS),
    "content in parts": (_completion(content=_PARTS), GOOD),
    "content in odd parts": (_completion(content=[1, None, [], {"text": 3}]), FAILS),
    "lone surrogates": (_completion(content=GOOD[:-1] + ', "note": "\ud800"}'), GOOD[:-1]),
    "null characters": (_completion(content=GOOD[:-1] + ', "note": "a\0b"}'), GOOD[:-1]),
    "text that is not UTF-8": (_completion(content="\udcff").replace("\\udcff", "\xff"), FAILS),
    "tools instead of words": (_completion(content=None, tool_calls=[{"id": "1"}]), FAILS),
    "thoughts instead of words": (_completion(content=None, reasoning_content="hm"), FAILS),
    "unfinished thoughts": (_completion(content=""), FAILS),
    "a refusal": (_completion(content=None, refusal="no"), FAILS),
    "a refusal that is a number": (_completion(refusal=7), FAILS),
    "an end for length": (_said(finish="length"), FAILS),
    "an end that is a list": (_said(finish=["stop"]), GOOD),
    "an end that is a number": (_said(finish=3), GOOD),
    "usage in words": (_said(_usage("many")), GOOD),
    "usage below nothing": (_said(_usage(-(10**9))), GOOD),
    "usage without measure": (_said(_usage(10**30)), GOOD),
    "usage in fractions": (_said(_usage(1.5)), GOOD),
    "usage that is no number": (_said(_usage(float("nan"))), GOOD),
    "usage that is true": (_said(_usage(True)), GOOD),
    "usage that is a list": (_said([1]), GOOD),
    "usage that is a text": (_said("free"), GOOD),
    "details that are a list": (_said(_usage(3) | {"prompt_tokens_details": [3]}), GOOD),
    "no JSON in the reply": (_completion(content="{not json at all"), FAILS),
    "ten megabytes of text": (_completion(content="A" * 10_000_000), FAILS),
    "two megabytes of text": (_completion(content="A" * 2_000_000), FAILS),
}

_END = '{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}'


def _piece(text: Any) -> str:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]})


def _sse(*events: str | bytes, done: bool = True) -> Raw:
    data = [event.encode() if isinstance(event, str) else event for event in events]
    if done:
        data.append(b"[DONE]")
    body = b"".join(b"data: " + event + b"\n\n" for event in data)
    return http(body, kind="text/event-stream")


_STREAMING = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
_FLOOD = b"data: " + _piece("A" * 1000).encode() + b"\n\n"

CHUNKS: dict[str, tuple[Raw, str | None]] = {
    "a good one": (_sse(_piece("In "), _piece("Lyon."), _END), "In Lyon."),
    "ends of another system": (
        http(f"data:{_piece('In Lyon.')}\r\n\r\ndata: {_END}\r\n\r\n", kind="text/event-stream"),
        "In Lyon.",
    ),
    "comments and other fields": (
        http(f": hi\nevent: a\nid: 1\ndata: {_piece('Yes')}\n\ndata: {_END}\n\n"),
        "Yes",
    ),
    "an event in two lines": (http('data: {"choices":\ndata: []}\n\n'), FAILS),
    "pieces in parts": (_sse(_piece(_PARTS[1:]), _END), GOOD),
    "odd usage": (_sse(_piece("Yes"), _END, json.dumps({"choices": [], "usage": "x"})), "Yes"),
    "bad usage": (_sse(_piece("Yes"), _END, json.dumps({"usage": _usage(-5)})), "Yes"),
    "deltas that are null": (
        _sse('{"choices": [{"delta": null}]}', '{"choices": null}', _piece("Yes"), _END),
        "Yes",
    ),
    "lone surrogates": (_sse(_piece("a\ud800"), _END), "a\ufffd"),
    "events that are null": (_sse(_piece("Yes"), "null", _END), FAILS),
    "events that are lists": (_sse("[]", _END), FAILS),
    "events that are nothing": (_sse(b"\xff\xfe{{{"), FAILS),
    "deltas that are texts": (_sse('{"choices": [{"delta": "Yes"}]}', _END), FAILS),
    "pieces that are numbers": (_sse(_piece(7), _END), FAILS),
    "an error": (_sse('{"error": {"message": "overloaded"}}'), FAILS),
    "an error after a piece": (_sse(_piece("Yes"), '{"error": "overloaded"}'), FAILS),
    "an error with the key": (_sse(_piece("Yes"), b'{"error": "' + KEY + b'"}'), FAILS),
    "only its end": (_sse(), FAILS),
    "no end mark": (_sse(_piece("Yes"), done=False), FAILS),
    "an end without a reason": (_sse(_piece("Yes")), FAILS),
    "no words": (_sse(_END), FAILS),
    "cut for length": (_sse(_piece("Yes"), _END.replace("stop", "length")), FAILS),
    "cut in an event": (http(b'data: {"choices": [{"del', kind="text/event-stream"), FAILS),
    "comments without end": (drip(_STREAMING, b": wait\n\n"), FAILS),
    "pieces without end": (drip(_STREAMING, b"data: " + _piece("x").encode() + b"\n\n"), FAILS),
    "a line without end": (Raw([_STREAMING + b"data: ", *[_MEGABYTE] * 40]), FAILS),
    "a flood of pieces": (Raw([_STREAMING, *[_FLOOD * 500] * 40]), FAILS),
}


def _vectors(*vectors: Any, **fields: Any) -> str:
    data = [{"index": place, "embedding": vector} for place, vector in enumerate(vectors)]
    return json.dumps({"data": data, **fields})


def _indexed(*indexes: Any) -> str:
    return json.dumps({"data": [{"index": i, "embedding": [0.6, 0.8]} for i in indexes]})


UNIT = [0.6, 0.8]
# For two texts and vectors of two numbers; true where the client is to take them.
VECTORS: dict[str, tuple[str, bool]] = {
    "good ones": (_vectors(UNIT, UNIT), True),
    "in another order": (_indexed(1, 0), True),
    "without places": ('{"data": [{"embedding": [1, 0]}, {"embedding": [0, 1]}]}', True),
    "odd usage": (_vectors(UNIT, UNIT, usage={"prompt_tokens": -7}), True),
    "usage that is a list": (_vectors(UNIT, UNIT, usage=[7]), True),
    "too few": (_vectors(UNIT), False),
    "too many": (_vectors(UNIT, UNIT, UNIT), False),
    "none": (_vectors(), False),
    "data that is null": ('{"data": null}', False),
    "data that is a text": ('{"data": "ab"}', False),
    "data of numbers": ('{"data": [1, 2]}', False),
    "one place twice": (_indexed(0, 0), False),
    "a place below": (_indexed(-1, 0), False),
    "a place beyond": (_indexed(0, 10**30), False),
    "a place that is a text": (_indexed("0", "1"), False),
    "vectors that are null": (_vectors(None, None), False),
    "vectors of words": (_vectors(["a", "b"], ["c", "d"]), False),
    "vectors of nothing": (_vectors([], []), False),
    "vectors of null": (_vectors([None, None], [None, None]), False),
    "vectors of lists": (_vectors([UNIT], [UNIT]), False),
    "vectors of objects": (_vectors([{}, {}], [{}, {}]), False),
    "vectors too long": (_vectors([1, 2, 3], [1, 2, 3]), False),
    "vectors of unlike length": (_vectors([1, 2], [1]), False),
    "zero": (_vectors([0, 0], UNIT), False),
    "no numbers": (_vectors([float("nan"), 1], UNIT), False),
    "infinite": ('{"data": [{"embedding": [1e999, 1]}, {"embedding": [1, 1]}]}', False),
    "too large": (_vectors([1e300, 1], UNIT), False),
    "huge whole numbers": (_vectors([10**400, 1], UNIT), False),
    "text that is no base64": (_vectors("!!!", "???"), False),
    "base64 of nothing": (_vectors("", ""), False),
    "base64 of half a number": (_vectors("AAA=", "AAA="), False),
}
