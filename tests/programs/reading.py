"""Uses a database that it may not write, as a user whom permissions bind; prints, as JSON, what
came of each call.

    python reading.py DATABASE FOLDER
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hymem import Completion, HyMem

NOBODY = 65534
ANA = {"user_id": "ana"}


class Model:
    model = "never called"

    def complete(
        self, messages: Sequence[Mapping[str, str]], schema: type[Any] | None = None
    ) -> Completion:
        raise AssertionError("a model was called")


def reads(memory: HyMem, folder: Path) -> dict[str, Callable[[], object]]:
    return {
        "list": lambda: [one.text for one in memory.get_all(**ANA)],
        "search": lambda: memory.search("boats", **ANA)[0].text,
        "recall": lambda: memory.recall("What do I paint?", **ANA).text,
        "ask": lambda: memory.ask("What do I paint?", **ANA).text,
        "history": lambda: [event["event"] for event in memory.history(1, **ANA)],
        "status": lambda: memory.status(**ANA).turns,
        "costs": lambda: memory.costs(**ANA),
        "users": lambda: memory.users(),
        "export": lambda: memory.export(folder / "out.jsonl", all_scopes=True),
        "backup": lambda: memory.backup(folder / "copy.db"),
    }


def writes(memory: HyMem, folder: Path) -> dict[str, Callable[[], object]]:
    return {
        "add": lambda: memory.add("I sail.", **ANA),
        "update": lambda: memory.update(1, "I sail.", **ANA),
        "delete": lambda: memory.delete(1, **ANA),
        "delete_all": lambda: memory.delete_all(**ANA),
        "flush": lambda: memory.flush(**ANA),
        "import": lambda: memory.import_(folder / "out.jsonl"),
        "compact": lambda: memory.compact(),
    }


def chat(path: str | Path) -> object:
    with HyMem(path, llm=Model()) as memory:
        return memory.chat([{"role": "user", "content": "Hello"}], **ANA)


def outcome(call: Callable[[], object]) -> Any:
    try:
        return call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def outcomes(calls: Mapping[str, Callable[[], object]]) -> dict[str, Any]:
    return {name: outcome(call) for name, call in calls.items()}


def become_nobody(folder: Path) -> None:
    with HyMem(folder / "warm.db", llm=None) as memory:  # all is imported while it may be read
        memory.add("I paint boats.", **ANA)
        outcomes(reads(memory, folder) | writes(memory, folder))
    outcome(lambda: chat(folder / "warm.db"))
    for path in folder.iterdir():
        path.unlink()
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def main(path: str, folder: Path) -> None:
    become_nobody(folder)
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("hymem").addHandler(handler)
    with HyMem(path, llm=None) as memory:
        found = {"reads": outcomes(reads(memory, folder)), "log": [*told]}
        found["writes"] = outcomes(writes(memory, folder))
    found["writes"]["chat"] = outcome(lambda: chat(path))
    with HyMem(folder / "copy.db", llm=None) as copy:
        found["copy"] = outcome(lambda: copy.add("I sail.", **ANA))
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
