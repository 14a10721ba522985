"""mem0 as a system under test, where the package is installed (``pip install mem0ai``).

Raw messages are stored (``infer=False``) and searched with MiniLM vectors, so it needs no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.data.files import DataError
from evals.data.history import History
from evals.systems.hymem import Recalled

MOST_HITS = 100


@dataclass(frozen=True, slots=True)
class Mem0System:
    """mem0 with FAISS under ``folder``. Raises ``DataError`` when mem0 is not installed."""

    folder: Path
    name = "mem0 (raw messages)"

    def load(self, history: History) -> Mem0Memory:
        return Mem0Memory(_open(self.folder / history.id), history)


class Mem0Memory:
    def __init__(self, memory: Any, history: History) -> None:
        self._memory, self._user = memory, history.id
        self._lines = {
            message.id: f"{message.speaker}: {message.text}" for message in history.messages
        }
        for message in history.messages:
            memory.add(
                self._lines[message.id],
                user_id=history.id,
                metadata={"message": message.id},
                infer=False,
            )

    def recall(self, question: str, budget: int) -> Recalled:
        from hymem.text.tokens import count_many

        ranked = self.rank(question, MOST_HITS)
        chosen: list[str] = []
        used = 0
        for message, size in zip(
            ranked, count_many([self._lines[message] for message in ranked]), strict=True
        ):
            if used + size <= budget:
                chosen.append(message)
                used += size
        text = "\n".join(self._lines[message] for message in chosen)
        return Recalled(text, used, frozenset(chosen))

    def rank(self, question: str, limit: int) -> list[str]:
        found = self._memory.search(question, filters={"user_id": self._user}, top_k=limit)
        return list(dict.fromkeys(hit["metadata"]["message"] for hit in found["results"]))

    def close(self) -> None:
        self._memory.close()


def _open(folder: Path) -> Any:
    import os

    os.environ["MEM0_TELEMETRY"] = "False"  # read when mem0 is imported
    try:
        from mem0 import Memory
    except ImportError as error:
        raise DataError("mem0 is not installed: pip install mem0ai") from error
    from snn_encoder.distill.teacher import teacher_folder

    folder.mkdir(parents=True, exist_ok=True)
    vectors = {
        "collection_name": "evals",
        "path": str(folder / "faiss"),
        "embedding_model_dims": 384,
    }
    embedder = {"model": str(teacher_folder()), "embedding_dims": 384}
    return Memory.from_config(
        {
            "vector_store": {"provider": "faiss", "config": vectors},
            "embedder": {"provider": "huggingface", "config": embedder},
            # Never called with infer=False, but mem0 wants one named.
            "llm": {"provider": "openai", "config": {"api_key": "unused"}},
            "history_db_path": str(folder / "history.db"),
        }
    )
