"""The harness's own time is measured against an endpoint whose time is known."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from openai_server import Body, OpenAIServer
from small_data import WordEncoder

from evals.speed import harness
from evals.systems.hymem import System, hymem_systems


@pytest.mark.parametrize("name", ["fixed context", "hymem"])
def test_the_least_time_is_the_endpoints_own(
    server: OpenAIServer, locomo_file: Path, encoder: WordEncoder, name: str
) -> None:
    def slowly(body: Body) -> str:
        time.sleep(0.1)
        return "x"

    server.answer = slowly
    own: list[System] = [harness.FixedContext(), *hymem_systems(encoder, ["hymem"])]
    (system,) = (system for system in own if system.name == name)
    found = harness.measure(system, locomo_file, server.url, 8, 0.1)
    assert found["questions"] == server.calls == 8
    assert found["least"] == 0.1  # all eight at once
    assert found["seconds"] >= 0.1
    assert found["added share"] == pytest.approx(found["seconds"] / 0.1 - 1)
    assert 0 < found["before the first call"] < found["seconds"]
