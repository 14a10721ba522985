"""Small benchmark files of our own writing, in the formats of LOCOMO and LongMemEval."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class WordEncoder:
    """Equal words, near vectors: enough for a test, and nothing to load."""

    name = "words"
    version = "words-1"
    dim = 64
    max_tokens = 256

    def __init__(self) -> None:
        self.seen = 0

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.seen += len(texts)
        rows = np.full((len(texts), self.dim), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                rows[row, hashlib.sha256(word.encode()).digest()[0] % self.dim] += 1.0
        unit: NDArray[np.float32] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


def _turn(dia_id: str, speaker: str, text: str, **more: str) -> dict[str, str]:
    return {"dia_id": dia_id, "speaker": speaker, "text": text, **more}


def locomo_conversation(name: str, first: str, second: str, city: str, pet: str) -> dict[str, Any]:
    return {
        "sample_id": name,
        "conversation": {
            "speaker_a": first,
            "speaker_b": second,
            "session_1_date_time": "1:56 pm on 8 May, 2023",
            "session_1": [
                _turn("D1:1", first, f"I moved to {city} last week to start a bakery."),
                _turn("D1:2", second, "How exciting! Did the furniture arrive?"),
                _turn(
                    "D1:3",
                    first,
                    f"Yes, and my {pet} loves the balcony.",
                    blip_caption="an animal on a sunny balcony",
                    query="secret search words",
                ),
            ],
            "session_2_date_time": "9:05 am on 2 June, 2023",
            "session_2": [
                _turn("D2:1", second, "I ran a marathon on Sunday and finished in four hours."),
                _turn("D2:2", first, "Congratulations! My oven broke, so the opening waits."),
            ],
            "session_3_date_time": "9:05 am on 3 June, 2023",
            "session_3": [],
        },
        "observation": {
            "session_1_observation": {first: [[f"{first} moved to {city}.", "D1:1"]], second: []},
            "session_2_observation": {second: [[f"{second} ran a marathon.", ["D2:1", "D2:02"]]]},
        },
        "session_summary": {"session_1_summary": f"{first} moved.", "session_2_summary": "A race."},
        "event_summary": {},
        "qa": [
            {
                "question": f"Where did {first} move?",
                "answer": city,
                "category": 4,
                "evidence": ["D1:01"],
            },
            {
                "question": f"What did {second} run, and what loves the balcony?",
                "answer": f"a marathon, the {pet}",
                "category": 1,
                "evidence": ["D2:1; D1:3"],
            },
            {
                "question": f"When did {second} run a marathon?",
                "answer": "28 May 2023",
                "category": 2,
                "evidence": ["D:2:1", "D", "D9:9"],
            },
            {"question": "Nothing cited?", "answer": 7, "category": 3, "evidence": []},
            {
                "question": f"Which boat did {first} buy?",
                "adversarial_answer": "a yacht",
                "category": 5,
                "evidence": ["D1:1"],
            },
        ],
    }


def longmemeval_question(number: int, **changes: Any) -> dict[str, Any]:
    """A knowledge update: the newer session is the second in time, the first in the file."""
    question = {
        "question_id": f"q{number}",
        "question_type": "knowledge-update",
        "question": "What colour is my bicycle?",
        "question_date": "2023/06/01 (Thu) 10:00",
        "answer": "green",
        "answer_session_ids": ["answer_new", "answer_old"],
        "haystack_dates": [
            "2023/05/20 (Sat) 09:00",
            "2023/04/10 (Mon) 17:50",
            "2023/05/01 (Mon) 08:00",
        ],
        "haystack_session_ids": ["answer_new", "answer_old", "filler"],
        "haystack_sessions": [
            [
                {"role": "user", "content": "I painted my bicycle green.", "has_answer": True},
                {"role": "assistant", "content": "Nice colour.", "has_answer": False},
            ],
            [
                {
                    "role": "user",
                    "content": "My bicycle is red, a fine colour.",
                    "has_answer": True,
                },
                {"role": "assistant", "content": "Red suits it."},
            ],
            [
                {"role": "user", "content": "Give me a recipe for lentil soup."},
                {"role": "assistant", "content": "Boil lentils."},
            ],
        ],
    }
    return question | changes
