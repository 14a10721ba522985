"""What the harness adds to an endpoint's own time, with 16 questions in flight.

    python -m evals.speed.harness --data FOLDER [--seconds 0.5] [--questions 320]

A server of the OpenAI protocol on loopback answers every call after a fixed time, in a process of
its own. The run is compared with the least time that its questions can take there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

IN_FLIGHT = 16
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


def measure(data: Path | None, url: str, questions: int, seconds: float) -> dict[str, float]:
    """Run HyMem's recall and one call per question, the loading of the memories included."""
    from evals.answerers import ContextAnswerer
    from evals.encoders import load_encoder
    from evals.generate import generate, header_of
    from evals.records import RecordWriter
    from evals.systems import hymem_systems
    from evals.tasks import load_task
    from hymem.llm.openai import OpenAIChat
    from hymem.prices import Prices

    task = load_task("locomo", data)
    (system,) = hymem_systems(load_encoder("spiking"), ["hymem"])
    llm = OpenAIChat("loopback", base_url=url, api_key="none", concurrency=IN_FLIGHT)
    answerer = ContextAnswerer(system, llm, Prices(), 1000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        with RecordWriter(path, header_of(task, answerer)) as writer:
            started = time.perf_counter()
            summary = generate(
                task,
                answerer,
                writer,
                price=lambda sent, said: 0.0,
                concurrency=IN_FLIGHT,
                limit=questions,
            )
            spent = time.perf_counter() - started
            first = next(iter(task.items()))[0]
    started = time.perf_counter()
    system.load(first).close()
    loading = time.perf_counter() - started
    least = seconds * summary.answered / IN_FLIGHT
    return {
        "questions": summary.answered,
        "seconds": spent,
        "least": least,
        "loading one conversation": loading,
        "added share": spent / least - 1,
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--questions", type=int, default=320)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args(argv)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    server = context.Process(target=serve, args=(arguments.seconds, sender), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{receiver.recv()}/v1"
    try:
        result = measure(arguments.data, url, arguments.questions, arguments.seconds)
    finally:
        server.terminate()
    print(json.dumps(result, indent=1))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
