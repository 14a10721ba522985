"""Fetching benchmark data: verified, and put where the loaders look."""

from __future__ import annotations

import hashlib
import os
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evals.data.files import CHECKSUMS, DataError, DataFile, cache_dir

_LOCOMO = "https://raw.githubusercontent.com/snap-research/locomo/main/data/"
_LONGMEMEVAL = "https://huggingface.co/datasets/xiaowu0162/longmemeval-cleaned/resolve/main/"

PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Source:
    """A file to fetch, and its licence, which is shown before it is fetched."""

    url: str
    licence: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[1]


SOURCES: Mapping[str, tuple[Source, ...]] = {
    "locomo": (Source(_LOCOMO + "locomo10.json", "CC BY-NC 4.0"),),
    "longmemeval": (
        Source(_LONGMEMEVAL + "longmemeval_s_cleaned.json", "MIT"),
        Source(_LONGMEMEVAL + "longmemeval_oracle.json", "MIT"),
    ),
    "longmemeval_m": (Source(_LONGMEMEVAL + "longmemeval_m_cleaned.json", "MIT"),),
}


def fetch(
    source: Source, folder: Path | None = None, advance: Callable[[int], object] = lambda n: None
) -> DataFile:
    """Download ``source`` into ``folder`` (default: ``HYMEM_DATA``, else the cache), verify it and
    note its sha256 beside it, so that later damage is seen. ``advance`` gets bytes as they come.

    A file whose checksum is known here must have that one. Raises ``DataError``; nothing is left
    behind then.
    """
    target_folder = folder or Path(os.environ.get("HYMEM_DATA") or cache_dir())
    target_folder.mkdir(parents=True, exist_ok=True)
    target = target_folder / source.name
    partial = target.with_name(target.name + ".part")
    digest = hashlib.sha256()
    try:
        with urllib.request.urlopen(source.url, timeout=60) as reply, partial.open("wb") as out:
            expected_length = reply.headers.get("Content-Length")
            while piece := reply.read(PIECE):
                out.write(piece)
                digest.update(piece)
                advance(len(piece))
        _check(source, partial, expected_length, digest.hexdigest())
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise DataError(f"{source.url} could not be fetched: {error}") from error
    except DataError:
        partial.unlink(missing_ok=True)
        raise
    note = target.with_name(target.name + ".sha256")
    note.write_text(digest.hexdigest() + "\n", encoding="ascii")
    return DataFile(target, digest.hexdigest())


def _check(source: Source, partial: Path, expected_length: str | None, digest: str) -> None:
    if expected_length is not None and partial.stat().st_size != int(expected_length):
        raise DataError(f"{source.url} broke off; run the command again")
    expected = CHECKSUMS.get(source.name)
    if expected is not None and digest != expected:
        raise DataError(
            f"{source.url} has sha256 {digest}, expected {expected}: it is another version, on "
            "which results may not be reported"
        )
