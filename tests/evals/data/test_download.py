"""Downloads from a real server on loopback."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evals.data import files
from evals.data.download import Source, fetch
from evals.data.files import DataError

BODY = b'[{"small": "file"}]'


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if "gone" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:5] if "half" in self.path else BODY)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def test_a_file_is_fetched_noted_and_found(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYMEM_DATA", str(tmp_path))
    sizes: list[int] = []
    file = fetch(Source(f"{url}/longmemeval_oracle.json", "MIT"), advance=sizes.append)
    assert file.path.read_bytes() == BODY
    assert sum(sizes) == len(BODY)
    assert file.sha256 == hashlib.sha256(BODY).hexdigest()
    assert files.find_file("longmemeval_oracle") == file
    file.path.write_bytes(BODY + b" ")
    with pytest.raises(DataError, match="damaged"):
        files.find_file("longmemeval_oracle")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.json", "could not be fetched"),
        ("half.json", "broke off"),
        ("locomo10.json", "another version"),
    ],
)
def test_a_bad_download_leaves_nothing(url: str, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fetch(Source(f"{url}/{name}", "MIT"), tmp_path)
    assert list(tmp_path.iterdir()) == []
