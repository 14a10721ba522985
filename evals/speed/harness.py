"""What the harness adds to an endpoint's own time, with 16 questions in flight.

A server of the OpenAI protocol on loopback answers every call after a fixed time, in a process of
its own. LOCOMO's questions are asked there, once with one fixed context, once with HyMem's recall,
its loading of the conversations included. Each run is compared with the least time that so many
calls can take, 16 at once; the time before the first call is told apart, because it is spent once.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from evals.data.files import find_file
from evals.data.history import History
from evals.results import measured_code, rounded
from evals.systems.encoders import load_encoder
from evals.systems.hymem import Recalled, System, hymem_systems

if TYPE_CHECKING:
    from pydantic import BaseModel

    from hymem.types import LLM, Completion

IN_FLIGHT = 16
BUDGET = 1000  # tokens of context
CHARACTERS = 4 * BUDGET
_REPLY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 0,
    "model": "loopback",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "x"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def serve(seconds: float, port: Connection) -> None:
    """Answer every request after ``seconds``; tell the port once, then never return."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body are two writes: without this the second waits for the client's delayed
        # acknowledgement, 40 ms that are no endpoint's and no harness's.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(seconds)
            body = json.dumps(_REPLY).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    port.send(http.server_address[1])
    http.serve_forever()


class FixedContext:
    """A system that does nothing: the beginning of the conversation, whatever is asked."""

    name = "fixed context"

    def load(self, history: History) -> FixedMemory:
        return FixedMemory(history)


class FixedMemory:
    def __init__(self, history: History) -> None:
        text = "\n".join(f"{item.speaker}: {item.text}" for item in history.messages)
        self._recalled = Recalled(text[:CHARACTERS], BUDGET, frozenset())

    def recall(self, question: str, budget: int) -> Recalled:
        return self._recalled

    def rank(self, question: str, limit: int) -> list[str]:
        return []

    def close(self) -> None:
        """Nothing is held open."""


class TimedLLM:
    """``llm``, and when it was called first."""

    def __init__(self, llm: LLM) -> None:
        self._llm = llm
        self.model = llm.model
        self.first_call: float | None = None

    def complete(
        self, messages: Sequence[Mapping[str, str]], schema: type[BaseModel] | None = None
    ) -> Completion:
        self.first_call = self.first_call or time.perf_counter()
        return self._llm.complete(messages, schema)

    def stream(self, messages: Sequence[Mapping[str, str]]) -> Iterator[str | Completion]:
        yield from self._llm.stream(messages)


def measure(
    system: System, data: Path | None, url: str, questions: int, seconds: float
) -> dict[str, float]:
    """Ask ``questions`` of LOCOMO as ``hymem-eval generate`` does, the records included."""
    import openai  # noqa: F401  (loaded before the clock starts)

    from evals.answers.answerers import ContextAnswerer
    from evals.answers.generate import generate, header_of
    from evals.answers.records import RecordWriter
    from evals.data.tasks import load_task
    from hymem.cost.prices import Prices
    from hymem.llm.openai import OpenAIChat

    chat = OpenAIChat("loopback", base_url=url, api_key="none", concurrency=IN_FLIGHT)
    llm = TimedLLM(chat)
    task = load_task("locomo", data)
    answerer = ContextAnswerer(system, llm, Prices(), BUDGET)
    started = time.perf_counter()
    processor = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        with RecordWriter(path, header_of(task, answerer)) as writer:
            summary = generate(
                task,
                answerer,
                writer,
                price=lambda sent, said: 0.0,
                concurrency=IN_FLIGHT,
                limit=questions,
            )
    ended = time.perf_counter()
    processor = time.process_time() - processor
    least = seconds * math.ceil(summary.answered / IN_FLIGHT)
    first = llm.first_call or ended
    return {
        "questions": summary.answered,
        "seconds": ended - started,
        "least": least,
        "added share": (ended - started) / least - 1,
        "before the first call": first - started,
        "added share after the first call": (ended - first) / least - 1,
        "processor milliseconds a question": 1000 * processor / summary.answered,
    }


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, help="file or folder (default: HYMEM_DATA)")
    parser.add_argument("--seconds", type=float, default=1.0, help="what each call takes")
    parser.add_argument("--questions", type=int, default=1540)
    parser.add_argument("--out", type=Path, help="file for the figures")


def run(arguments: argparse.Namespace) -> None:
    load = os.getloadavg()[0]
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    server = context.Process(target=serve, args=(arguments.seconds, sender), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{receiver.recv()}/v1"
    systems: list[System] = [FixedContext(), *hymem_systems(load_encoder("spiking"), ["hymem"])]
    try:
        runs = {
            system.name: measure(
                system, arguments.data, url, arguments.questions, arguments.seconds
            )
            for system in systems
        }
    finally:
        server.terminate()
    file = find_file("locomo", arguments.data)
    report = {
        "kind": "harness",
        "data": {"name": file.name, "sha256": file.sha256},
        "seconds a call": arguments.seconds,
        "in flight": IN_FLIGHT,
        "machine": {"processors": os.cpu_count(), "load before": load},
        "code": measured_code(),
        "runs": runs,
    }
    print(json.dumps(rounded(report), indent=1))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(rounded(report), indent=1) + "\n", encoding="utf-8")
