"""Histories are loaded one ahead of the questions, shared by them and closed once."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from evals.answers import generate, records
from evals.data.tasks import load_task


class Stub:
    """An answerer whose questions wait for the history after theirs to be loaded."""

    name = model = "stub"
    settings: dict[str, Any] = {}  # noqa: RUF012
    build_is_free = True

    def __init__(self, *, broken: bool = False) -> None:
        self.loaded: list[str] = []
        self.closed = 0
        self.second = threading.Event()
        self.broken = broken

    def load(self, history: Any) -> Any:
        self.loaded.append(history.id)
        if len(self.loaded) == 2:
            self.second.set()
        return self

    build = records.Build("any", {}, 0.0)

    def bound(self, history: Any) -> tuple[int, int]:
        return 0, 0

    def answer(self, question: Any) -> records.Record:
        assert self.second.wait(10)
        if self.broken:
            raise RuntimeError("a bug")
        return records.Record(question.id, question.group, "x")

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("broken", [False, True])
def test_the_next_history_is_loaded_while_questions_are_asked(
    locomo_file: Path, tmp_path: Path, broken: bool
) -> None:
    task, stub = load_task("locomo", locomo_file), Stub(broken=broken)
    header = {"task": task.name, "task_version": task.version, "system": "s", "model": "m"}
    with records.RecordWriter(tmp_path / "r.jsonl", header) as writer:
        ask = partial(generate.generate, task, stub, writer, price=lambda sent, said: 0.0)
        if broken:
            with pytest.raises(RuntimeError, match="a bug"):
                ask(concurrency=1)
        else:
            assert ask().answered == 8
    assert stub.loaded == ["conv-26", "conv-99"]
    assert stub.closed == 2  # also the one that was never used


def test_a_reader_is_closed_by_its_last_user() -> None:
    class Reader:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    reader = Reader()
    shared = generate._Shared(reader)  # type: ignore[arg-type]
    threads = []
    for _ in range(20):
        shared.take()
        threads.append(threading.Thread(target=shared.drop))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reader.closed == 0
    shared.drop()
    assert reader.closed == 1
