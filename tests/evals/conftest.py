"""Fixtures of the evaluations' tests: small benchmark files and a light encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_data import WordEncoder, locomo_conversation, longmemeval_question


@pytest.fixture
def encoder() -> WordEncoder:
    return WordEncoder()


@pytest.fixture
def locomo_file(tmp_path: Path) -> Path:
    """Two conversations, one of the development half and one of the other."""
    path = tmp_path / "small_locomo.json"
    conversations = [
        locomo_conversation("conv-26", "Ines", "Tom", "Porto", "parrot"),
        locomo_conversation("conv-99", "Ada", "Ben", "Turin", "tortoise"),
    ]
    path.write_text(json.dumps(conversations), encoding="utf-8")
    return path


@pytest.fixture
def longmemeval_file(tmp_path: Path) -> Path:
    """Four questions: answered by the user, by the assistant alone, an abstention, by the user."""
    assistant_only = longmemeval_question(
        2,
        question_type="single-session-assistant",
        answer_session_ids=["answer_old"],
        haystack_sessions=[
            [{"role": "user", "content": "Hello there."}],
            [
                {"role": "user", "content": "Which tea should I buy?"},
                {"role": "assistant", "content": "Buy sencha.", "has_answer": True},
            ],
            [{"role": "user", "content": "Good night."}],
        ],
    )
    questions = [
        longmemeval_question(1),
        assistant_only,
        longmemeval_question(3, question_id="q3_abs", answer=5),
        longmemeval_question(4, question_type="multi-session"),
    ]
    path = tmp_path / "small_longmemeval.json"
    path.write_text(json.dumps(questions, indent=1), encoding="utf-8")
    return path
