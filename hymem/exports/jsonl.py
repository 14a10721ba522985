"""JSON lines, the form of an export."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from hymem.errors import InputError, StoreError
from hymem.inputs.messages import clean_text
from hymem.system.files import is_database, is_special, replacing


def write_lines(path: str | Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Write one record a line, and only whole files; how many records. Raises ``InputError`` if
    the file cannot be written, or is a database."""
    try:
        # In the place of a database an export would destroy a memory, most likely this one.
        if is_database(path):
            raise InputError(f"{path} belongs to a database; name another file for the export")
        if is_special(path):
            with open(path, "w", encoding="utf-8") as file:
                return _write(file, records)
        with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
            return _write(file, records)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None


def read_lines(path: str | Path) -> Iterator[tuple[int, Any]]:
    """(line number, decoded line) of every line that is not blank. Raises ``InputError`` naming the
    line that is no JSON."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from decoded(file, str(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def decoded(file: Iterable[str], name: str) -> Iterator[tuple[int, Any]]:
    """The same of an open file, or of any lines; ``name`` stands in the errors."""
    number = 0
    try:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, json.loads(line, parse_constant=_no_number)
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8 text (near line {number + 1})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}, line {number} is not JSON: {error}") from None


def _write(file: TextIO, records: Iterable[Mapping[str, Any]]) -> int:
    count = 0
    for record in records:
        try:
            line = json.dumps(record, ensure_ascii=False)
            if (
                clean_text(line) != line
            ):  # lone surrogates in metadata: only their escapes are UTF-8
                line = json.dumps(record)
        except (TypeError, ValueError) as error:
            raise StoreError(f"a stored record cannot be written as JSON: {error}") from error
        file.write(line + "\n")
        count += 1
    return count


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")
