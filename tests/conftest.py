"""Fixtures that several areas share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from openai_server import OpenAIServer

# A busy machine must not fail a property.
settings.register_profile("hymem", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("hymem")


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    """A scriptable endpoint of the OpenAI protocol on loopback."""
    with OpenAIServer() as running:
        yield running
