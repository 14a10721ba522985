"""A scope's index as one file, so that a new process need not build it from the database.

The file holds vectors and hashes of terms, never text. It is written beside its final name and
renamed, and every array carries a checksum: a file that is damaged, of another database or of
another format is as good as none.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hymem.stores.index.columns import Ragged
from hymem.stores.index.scope import COLUMNS, ScopeIndex
from hymem.system.files import private_folder, replacing

FORMAT = "hymem-index-4"

Arrays = dict[str, NDArray[Any]]


def pack(index: ScopeIndex) -> tuple[dict[str, Any], Arrays]:
    """The index as plain numbers and arrays of its own, to be written without its lock."""
    dense, lexical, late = index.passages.dense, index.passages.lexical, index.passages.late
    arrays: Arrays = {name: getattr(index, name).view.copy() for name in (*COLUMNS, "row_at")}
    for name, ragged in _ragged(index).items():
        arrays[f"{name}.start"] = ragged.start.view.copy()
        arrays[f"{name}.count"] = ragged.count.view.copy()
        for number, column in enumerate(ragged.values):
            arrays[f"{name}.{number}"] = column.view.copy()
    arrays["passage_tokens"] = index.passages.length.view.copy()
    arrays["found"] = late.found.view.copy()
    arrays["length"] = lexical.length.view.copy()
    arrays["postings"] = np.sort(lexical.postings())
    arrays["stale"] = np.array(list(lexical.stale.items()), np.int64).reshape(-1, 2)
    arrays["codes"] = dense.codes.copy()
    if dense.lists is not None:
        arrays["lists"] = dense.pack_lists()
    numbers = {
        "built": dense.built,
        "wasted": index.passages.wasted,
        "last_change": index.last_change,
        "last_event": index.last_event,
        "turns": index.turns_total,
        "coded": late.turns,
        "hidden": index.hidden,
        "shown": lexical.shown,
        "total_length": lexical.total_length,
    }
    return numbers, arrays


def unpack(index: ScopeIndex, numbers: Mapping[str, Any], arrays: Arrays) -> None:
    """Fill a new index with what ``pack`` made of another."""
    for name in (*COLUMNS, "row_at"):
        getattr(index, name).fill(arrays[name])
    for name, ragged in _ragged(index).items():
        ragged.start.fill(arrays[f"{name}.start"])
        ragged.count.fill(arrays[f"{name}.count"])
        for number, column in enumerate(ragged.values):
            column.fill(arrays[f"{name}.{number}"])
    index.last_change, index.last_event = numbers["last_change"], numbers["last_event"]
    index.turns_total, index.hidden = numbers["turns"], numbers["hidden"]
    dense, lexical, late = index.passages.dense, index.passages.lexical, index.passages.late
    index.passages.replaced = int(np.count_nonzero(arrays["passages.0"] < 0))
    index.passages.length.fill(arrays["passage_tokens"])
    late.found.fill(arrays["found"])
    late.turns = numbers["coded"]
    dense.fill(arrays["codes"])
    if "lists" in arrays:
        dense.fill_lists(arrays["lists"])
    dense.built = numbers["built"]
    lexical.length.fill(arrays["length"])
    lexical.runs = [arrays["postings"]]
    lexical.stale = dict(arrays["stale"].tolist())
    lexical.shown, lexical.total_length = numbers["shown"], numbers["total_length"]
    index.saved = index.id.size


def write(path: Path, numbers: Mapping[str, Any], arrays: Arrays) -> None:
    """Replace the file at ``path``, durably, or leave it as it was. Raises ``OSError``."""
    head: dict[str, Any] = {"format": FORMAT, "numbers": dict(numbers), "arrays": {}}
    for name, array in arrays.items():
        head["arrays"][name] = [array.dtype.str, array.shape, _checksum(array)]
    line = json.dumps(head).encode()
    private_folder(path.parent)
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(b"%s %d\n%s\n" % (FORMAT.encode(), zlib.crc32(line), line))
        for array in arrays.values():
            array.tofile(file)


def read(path: Path) -> tuple[dict[str, Any], Arrays] | None:
    """What was written; ``None`` if there is no such file or any byte of it is wrong."""
    try:
        with path.open("rb") as file:
            name, checksum = file.readline(64).split()
            line = file.readline().rstrip(b"\n")
            if name != FORMAT.encode() or int(checksum) != zlib.crc32(line):
                return None
            head = json.loads(line)
            arrays = {}
            for key, (dtype, shape, expected) in head["arrays"].items():
                count = int(np.prod(shape, dtype=np.int64))
                array = np.fromfile(file, np.dtype(dtype), count)
                if len(array) != count or _checksum(array) != expected:
                    return None
                arrays[key] = array.reshape(shape)
        return dict(head["numbers"]), arrays
    except Exception:  # somebody else's file, perhaps; the database has all that is in it
        return None


def _ragged(index: ScopeIndex) -> dict[str, Ragged]:
    return {
        "sources": index.sources,
        "passages": index.passages.of,
        "terms": index.passages.lexical.terms,
        "token_ids": index.passages.late.ids,
    }


def _checksum(array: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data) if array.size else 0
