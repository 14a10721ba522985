"""Where benchmark data is, and whether it is what it should be.

Data is found at an argument, else in the folder that ``HYMEM_DATA`` names, else where
``hymem-eval data`` caches its downloads. Nothing of it is packed into the distribution.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

# sha256 of the files that results may be reported on.
CHECKSUMS = {
    "locomo10.json": "79fa87e90f04081343b8c8debecb80a9a6842b76a7aa537dc9fdf651ea698ff4",
    "locomo10_audit_errors.json": (
        "f298ef46263fada20688a1d672be37d4f488c6da3b19343eea55ae5c1b5fe55e"
    ),
    "longmemeval_oracle.json.zst": (
        "9dd4c43d213537d26e1e3e49cf7b5cec7b680d85d0a5ef6648e604eb55e8f609"
    ),
    "longmemeval_s_cleaned_499.json.zst": (
        "15c92163db32bf346da37a379484ef3a20bf10ae6394e025239cff56e38ef3cb"
    ),
}

# The names under which each data set's file is looked for, the preferred one first.
FILE_NAMES = {
    "locomo": ("locomo10.json",),
    "audit": ("locomo10_audit_errors.json",),
    "longmemeval_s": (
        "longmemeval_s_cleaned_499.json.zst",
        "longmemeval_s_cleaned.json",
        "longmemeval_s_cleaned.json.zst",
    ),
    "longmemeval_oracle": ("longmemeval_oracle.json", "longmemeval_oracle.json.zst"),
    "longmemeval_m": ("longmemeval_m_cleaned.json", "longmemeval_m_cleaned.json.zst"),
}


class DataError(Exception):
    """Benchmark data is missing, damaged or not the version that results are reported on."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file on this machine; results record its base ``name`` and ``sha256``, never its path."""

    path: Path
    sha256: str

    @property
    def name(self) -> str:
        return self.path.name


def cache_dir() -> Path:
    """Where ``hymem-eval data`` keeps downloads when ``HYMEM_DATA`` is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hymem" / "data"


def find_file(kind: str, source: str | Path | None = None) -> DataFile:
    """The file of data set ``kind`` (a key of ``FILE_NAMES``), its checksum verified.

    ``source`` is the file itself or a folder that holds it. A file under a name that
    ``CHECKSUMS`` does not list is taken as it is. Raises ``DataError``.
    """
    command = f"hymem-eval data {kind.split('_')[0].replace('audit', 'locomo')}"
    environment = os.environ.get("HYMEM_DATA")
    folder = Path(source or environment or cache_dir())
    if folder.is_file():
        return _verified(folder, command)
    for name in FILE_NAMES[kind]:
        if (folder / name).is_file():
            return _verified(folder / name, command)
    wanted = " or ".join(FILE_NAMES[kind])
    where = "the folder given" if source else "HYMEM_DATA" if environment else "the download cache"
    raise DataError(
        f"{wanted} not found in {where} ({folder}). Run `{command}`, or set HYMEM_DATA "
        "(or pass --data) to the folder that holds it."
    )


def _verified(path: Path, command: str) -> DataFile:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    expected = CHECKSUMS.get(path.name) or downloaded_checksum(path)
    if expected is not None and digest != expected:
        raise DataError(
            f"{path.name} is damaged or another version: its sha256 is {digest}, "
            f"expected {expected}. Run `{command}` to get the right file."
        )
    return DataFile(path, digest)


def downloaded_checksum(path: Path) -> str | None:
    """What ``hymem-eval data`` noted when it fetched this file."""
    note = path.with_name(path.name + ".sha256")
    return note.read_text(encoding="ascii").strip() if note.is_file() else None


@contextmanager
def open_text(file: DataFile) -> Iterator[IO[str]]:
    """The file as text, decompressed on the fly. Raises ``DataError`` without ``zstandard``."""
    with file.path.open("rb") as raw:
        if file.path.suffix != ".zst":
            yield io.TextIOWrapper(raw, encoding="utf-8")
            return
        try:
            import zstandard
        except ImportError as error:
            raise DataError(
                f"{file.name} is compressed: `pip install zstandard`, or decompress it "
                "with `zstd -d`."
            ) from error
        with zstandard.ZstdDecompressor().stream_reader(raw) as plain:
            yield io.TextIOWrapper(plain, encoding="utf-8")


def main(kinds: Sequence[str]) -> int:
    """``python -m evals.data.files KIND…``: whether these data sets are there; needs no package."""
    try:
        for kind in kinds:
            find_file(kind)
    except DataError as error:
        print(f"{error} `make data` downloads everything.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
