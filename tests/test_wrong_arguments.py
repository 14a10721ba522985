"""Arguments of the wrong kind: an error of ours that says what to pass, whatever is passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hymem import Filter, HyMem, InputError


@pytest.fixture
def memory() -> Iterator[HyMem]:
    with HyMem(":memory:", llm=None, background=False) as opened:
        yield opened


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"path": None}, "path is NoneType"),
        ({"path": 3}, "path is int"),
        ({"path": "a\0b"}, "NUL"),
        ({"path": "a\ud800b"}, "no file can be called"),
        ({"encoder": 5}, "encoder is int; pass an object with the methods of hymem.Encoder"),
        ({"segmenter": "x"}, "hymem.Segmenter"),
        ({"extractor": object()}, "hymem.Extractor"),
        ({"config": 5}, "config is int; pass a hymem.Config"),
        ({"prices": 5}, "prices is int"),
    ],
)
def test_a_memory_is_not_made_of_wrong_parts(
    arguments: dict[str, Any], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=complaint):
        HyMem(**{"path": ":memory:", "llm": None, **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda memory: memory.costs(by=5),
        lambda memory: memory.costs(by="stage"),
        lambda memory: memory.search("x", vector="x"),
        lambda memory: memory.search("x", limit=2**70),
        lambda memory: memory.get_all(limit=2**70),
        lambda memory: memory.recall("x", max_tokens=10**5000),
        lambda memory: memory.search("x", where=Filter(metadata={"a": 10**5000})),
        lambda memory: memory.export("a\ud800"),
        lambda memory: memory.backup("a\ud800"),
        lambda memory: memory.import_("a\0"),
    ],
)
def test_a_call_says_what_to_pass(memory: HyMem, call: Callable[[HyMem], object]) -> None:
    with pytest.raises(InputError):
        call(memory)
