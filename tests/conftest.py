"""Fixtures that several areas share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai_server import OpenAIServer


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """A scriptable endpoint of the OpenAI protocol on loopback."""
    with OpenAIServer() as running:
        yield running
