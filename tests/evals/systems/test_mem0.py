"""The mem0 adapter, where mem0 and its encoder are installed."""

from __future__ import annotations

from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pytest

from evals.data.history import History, Message

NOON = datetime(2026, 3, 2, 12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # mem0's own
def test_raw_messages_are_found_within_the_budget(tmp_path: Path) -> None:
    # Found, not imported: mem0 reads at import whether it may report home.
    if any(find_spec(name) is None for name in ("mem0", "sentence_transformers", "torch")):
        pytest.skip("mem0 or its encoder is not installed")
    from evals.systems.mem0 import Mem0System

    texts = ["I moved to Lyon.", "The cat is ill.", "I like tea."]
    messages = tuple(
        Message(str(place), "s", "user", "Ana", text, NOON) for place, text in enumerate(texts)
    )
    memory = Mem0System(tmp_path).load(History("ana", NOON, messages))
    try:
        assert memory.rank("Where does Ana live?", 1) == ["0"]
        recalled = memory.recall("Where does Ana live?", 8)
        assert recalled.messages == {"0"}
        assert recalled.tokens <= 8
        assert recalled.text == "Ana: I moved to Lyon."
    finally:
        memory.close()
