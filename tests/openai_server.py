"""A real HTTP server on loopback that speaks the OpenAI protocol and fails on request.

It answers ``/v1/chat/completions`` (whole or streamed) and ``/v1/embeddings``, counts tokens in its
own way, and keeps every request it got. What it says comes from a queue of actions, then from
``answer``, a function of the request's body.

    server.script(Fail(429, {"Retry-After": "1"}), Say('{"answer": "Lyon"}'))
    server.answer = lambda body: "Lyon"
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = Mapping[str, Any]
DIM = 16


@dataclass(frozen=True)
class Say:
    """Reply with ``text``. ``finish`` is the protocol's; ``usage=False`` reports no tokens."""

    text: str
    finish: str = "stop"
    cached: int = 0
    usage: bool = True
    refusal: str | None = None


@dataclass(frozen=True)
class Fail:
    """Reply with an HTTP error."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "scripted failure"


@dataclass(frozen=True)
class Hang:
    """Say nothing for so many seconds, then drop the connection."""

    seconds: float


@dataclass(frozen=True)
class Drop:
    """Close the connection: before the reply, or after ``pieces`` pieces of a stream that says
    ``text``. ``quietly`` ends the stream as if it were complete, only without its end mark."""

    pieces: int = 0
    text: str = ""
    quietly: bool = False


@dataclass(frozen=True)
class Raw:
    """Send these bytes as they are, wait where a number of seconds stands, close the connection.
    ``KEY`` in them is replaced by the request's ``Authorization`` header."""

    parts: Sequence[bytes | float]


KEY = b"{the-key}"

Action = Say | Fail | Hang | Drop | Raw


def count(text: str) -> int:
    """The server's own tokens: words and punctuation marks."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def prompt_tokens(body: Body) -> int:
    """The tokens of all messages of a chat request, with four for each message's frame."""
    return sum(4 + count(message["content"]) for message in body["messages"])


def last_message(body: Body) -> str:
    """The text of the request's last message."""
    return str(body["messages"][-1]["content"])


class OpenAIServer:
    """``url`` is what ``base_url`` must be. ``input_tokens``, ``output_tokens``: all that was
    reported as used. ``rejects``: ``response_format`` types (and ``stream_options``) that it
    answers with 400. ``always``: how every request is answered, of whatever kind."""

    def __init__(self) -> None:
        self.answer: Callable[[Body], str | Action] = lambda body: "ok"
        self.rejects: set[str] = set()
        self.always: Raw | None = None
        self.requests: list[dict[str, Any]] = []
        self.at: list[float] = []
        self.keys: list[str] = []
        self.input_tokens = self.output_tokens = self.embedding_tokens = 0
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self._script: deque[str | Action] = deque()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,))

    def script(self, *actions: str | Action) -> None:
        """What to do for the next requests, in order; a string is said."""
        self._script.extend(actions)

    def next_action(self, body: Body) -> Action:
        with self.lock:
            action = self._script.popleft() if self._script else None
        chosen = self.answer(body) if action is None else action
        return Say(chosen) if isinstance(chosen, str) else chosen

    def count_usage(self, sent: int, said: int) -> None:
        with self.lock:
            self.input_tokens += sent
            self.output_tokens += said

    @property
    def calls(self) -> int:
        return len(self.requests)

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def _handler(server: OpenAIServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with server.lock:
                server.requests.append(body)
                server.at.append(time.monotonic())
                server.keys.append(self.headers.get("Authorization", ""))
                server.busy += 1
                server.most_busy = max(server.most_busy, server.busy)
            try:
                if server.always:
                    self._raw(server.always)
                elif self.path.endswith("/embeddings"):
                    self._embed(body)
                else:
                    self._chat(body)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client gave up, as some tests want it to
            finally:
                with server.lock:
                    server.busy -= 1

        def _chat(self, body: Body) -> None:
            form = body.get("response_format", {}).get("type")
            if form in server.rejects:
                return self._error(Fail(400, message=f"response_format {form} is not supported"))
            if "stream_options" in body and "stream_options" in server.rejects:
                return self._error(Fail(400, message="unknown field stream_options"))
            match server.next_action(body):
                case Fail() as fail:
                    self._error(fail)
                case Raw() as raw:
                    self._raw(raw)
                case Hang(seconds):
                    time.sleep(seconds)
                    self._cut()
                case Drop() as drop if not body.get("stream") or not drop.pieces:
                    self._cut()
                case Drop() as drop:
                    self._stream(body, Say(drop.text), drop)
                case Say() as say if body.get("stream"):
                    self._stream(body, say, None)
                case Say() as say:
                    self._json(200, self._completion(body, say))
            return None

        def _completion(self, body: Body, say: Say) -> dict[str, Any]:
            message = {"role": "assistant", "content": say.text, "refusal": say.refusal}
            reply: dict[str, Any] = {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": say.finish}],
            }
            if say.usage:
                reply["usage"] = self._usage(body, say)
            return reply

        def _usage(self, body: Body, say: Say) -> dict[str, Any]:
            sent, said = prompt_tokens(body), count(say.text)
            server.count_usage(sent, said)
            return {
                "prompt_tokens": sent,
                "completion_tokens": said,
                "total_tokens": sent + said,
                "prompt_tokens_details": {"cached_tokens": say.cached},
            }

        def _stream(self, body: Body, say: Say, drop: Drop | None) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            pieces = re.findall(r"\s*\S+", say.text)
            for number, piece in enumerate(pieces):
                if drop and number == drop.pieces:
                    if drop.quietly:
                        self._chunk(b"")
                    return self._cut()
                self._event(body, {"content": piece}, None)
            self._event(body, {}, say.finish)
            if say.usage and body.get("stream_options", {}).get("include_usage"):
                self._event(body, None, None, self._usage(body, say))
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")
            return None

        def _event(self, body: Body, delta: Any, finish: str | None, usage: Any = None) -> None:
            event = {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 0,
                "model": body["model"],
                "choices": []
                if delta is None
                else [{"index": 0, "delta": delta, "finish_reason": finish}],
                "usage": usage,
            }
            self._chunk(f"data: {json.dumps(event)}\n\n".encode())

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()

        def _embed(self, body: Body) -> None:
            match server.next_action(body) if server._script else None:
                case Fail() as fail:
                    return self._error(fail)
            texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
            used = sum(count(text) for text in texts)
            with server.lock:
                server.embedding_tokens += used
            data = [
                {"object": "embedding", "index": i, "embedding": _encoded(body, text)}
                for i, text in enumerate(texts)
            ]
            reply = {"object": "list", "model": body["model"], "data": data}
            usage = {"prompt_tokens": used, "total_tokens": used}
            return self._json(200, {**reply, "usage": usage})

        def _error(self, fail: Fail) -> None:
            error = {"message": fail.message, "type": "scripted", "code": None}
            self._json(fail.status, {"error": error}, fail.headers)

        def _json(
            self, status: int, reply: Mapping[str, Any], headers: Mapping[str, str] | None = None
        ) -> None:
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def _raw(self, raw: Raw) -> None:
            self._cut()
            key = self.headers.get("Authorization", "").encode()
            for part in raw.parts:
                if isinstance(part, float):
                    time.sleep(part)
                else:
                    self.wfile.write(part.replace(KEY, key))
                    self.wfile.flush()

        def _cut(self) -> None:
            self.close_connection = True

    return Handler


def _encoded(body: Body, text: str) -> Any:
    """A vector of length 2 (so that a client must scale it), equal for equal words."""
    vector = [0.0] * DIM
    for word in re.findall(r"\w+", text.lower()):
        vector[hashlib.sha256(word.encode()).digest()[0] % DIM] += 1.0
    norm = sum(x * x for x in vector) ** 0.5 or 1.0
    vector = [2.0 * x / norm for x in vector]
    if body.get("encoding_format") == "base64":
        return base64.b64encode(struct.pack(f"<{DIM}f", *vector)).decode()
    return vector
