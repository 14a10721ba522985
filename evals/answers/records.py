"""Records of generated answers: one JSON line a question, written as soon as it is answered.

The first line says what was measured. A run that was interrupted goes on in the same file; a file
of another task version, system or model is refused. Records hold dataset text: they stay local.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evals.data.loaders import DataError

# What may differ between the parts of one run: code may be committed in between.
_FREE = ("code",)


@dataclass(frozen=True, slots=True)
class Record:
    """One question as it was answered, or as it failed (``error``; then nothing else counts).

    ``usage``: stage → calls, input_tokens, output_tokens, cached_tokens, usd, seconds, estimated.
    ``full_tokens``: what the whole history would have taken, by HyMem's counter.
    """

    question: str
    group: str
    answer: str
    context: str = ""
    context_tokens: int = 0
    full_tokens: int = 0
    tier: str = "none"
    rounds: int = 1
    found: bool = True
    mode: str = ""
    usage: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Build:
    """What it cost to put one history into memory, apart from its questions, and how many of its
    events could not be extracted (they are tried again when the run goes on)."""

    history: str
    usage: Mapping[str, Mapping[str, Any]]
    seconds: float
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """A file of records, read. ``records`` holds the last one of each question."""

    path: Path
    header: Mapping[str, Any]
    records: Mapping[str, Record]
    builds: Mapping[str, Build]

    @property
    def answered(self) -> list[Record]:
        return [record for record in self.records.values() if record.error is None]

    @property
    def failed(self) -> list[Record]:
        return [record for record in self.records.values() if record.error is not None]


def read_run(path: Path, task_version: str | None = None) -> Run:
    """All of a records file. A line cut short by a crash is left out, if it is the last.

    Raises ``DataError`` for a file that is no such file, or of another task version.
    """
    records: dict[str, Record] = {}
    builds: dict[str, Build] = {}
    header: Mapping[str, Any] | None = None
    try:
        for kind, value in _lines(path):
            if kind == "header":
                header = value
            elif kind == "build":
                builds[value["history"]] = Build(**value)
            else:
                records[value["question"]] = Record(**value)
    except (KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{path.name} holds something else than records: {error!r}") from error
    if header is None or "task_version" not in header:
        raise DataError(f"{path.name} does not begin with a header: not a file of records")
    if task_version is not None and header["task_version"] != task_version:
        raise DataError(
            f"{path.name} holds records of task version {header['task_version']}, this is "
            f"{task_version}: generate again into another file"
        )
    return Run(path, header, records, builds)


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        if not line:
            continue
        try:
            ((kind, value),) = json.loads(line).items()
            yield kind, value
        except (ValueError, AttributeError) as error:
            if number == len(lines):  # no line end: the crash came in the middle of this line
                return
            raise DataError(f"{path.name}, line {number}, is damaged: {error}") from error


class RecordWriter:
    """Appends to a records file, creating it with ``header``. Safe to use from several threads.

    Raises ``DataError`` when the file was made with another configuration.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists() or path.stat().st_size == 0
        if not new:
            self.run = read_run(path, header["task_version"])
            _check_header(path, self.run.header, header)
            end_last_line(path)
        self._stream = path.open("a", encoding="utf-8")
        if new:
            self._write("header", header)
            self.run = Run(path, header, {}, {})

    def add(self, item: Record | Build) -> None:
        self._write("build" if isinstance(item, Build) else "record", asdict(item))

    def _write(self, kind: str, value: Mapping[str, Any]) -> None:
        line = json.dumps({kind: value}, ensure_ascii=True)
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _check_header(path: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    wanted = json.loads(json.dumps(new))
    for key in wanted.keys() | old.keys():
        if key not in _FREE and old.get(key) != wanted.get(key):
            raise DataError(
                f"{path.name} was made with {key} = {old.get(key)!r}, this run has "
                f"{wanted.get(key)!r}: choose another file"
            )


def end_last_line(path: Path) -> None:
    """Cut off the half line that a crash left, so that the next one begins on its own line."""
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        with path.open("r+b") as stream:
            stream.truncate(data.rfind(b"\n") + 1)


def total_usage(usages: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Usage added up by stage; dollars are ``None`` where any part's price is unknown."""
    total: dict[str, dict[str, Any]] = {}
    for usage in usages:
        for stage, spent in usage.items():
            into = total.setdefault(stage, dict.fromkeys(_SUMS, 0) | {"usd": 0.0})
            for key in _SUMS:
                into[key] += spent[key]
            known = into["usd"] is not None and spent["usd"] is not None
            into["usd"] = into["usd"] + spent["usd"] if known else None
    return total


_SUMS: Sequence[str] = ("calls", "input_tokens", "output_tokens", "cached_tokens", "seconds")


def usd_of(usage: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Dollars over all stages; ``None`` when any price is unknown."""
    parts = [spent["usd"] for spent in usage.values()]
    return None if None in parts else float(sum(parts))


def tokens_of(usage: Mapping[str, Mapping[str, Any]], key: str = "input_tokens") -> int:
    return sum(spent[key] for spent in usage.values())
