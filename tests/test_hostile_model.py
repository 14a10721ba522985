"""One user's words make the endpoint answer as no endpoint should; all other users go on."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hostile_replies import ANY, MESSAGES, http
from openai_server import Body, OpenAIServer, Raw

from hymem import HyMem, LLMError
from hymem.llm.openai import OpenAIChat

POISON = "xyzzy"
SECRET = "sk-proj-very-secret-key-0123456789"
OTHERS = ("ben", "cem", "dea")
STATEMENT = {
    "text": "The user likes figs.",
    "sources": [1],
    "date": None,
    "subject": None,
    "attribute": None,
}
KINDS = ANY | {
    kind: http(body.encode("latin-1") if "\xff" in body else body)
    for kind, (body, _) in MESSAGES.items()
}
# Each stands for many: what a proxy, a firewall, a broken server and a broken model do.
QUICK = ("a web page", "content that is an object", "403 with the key", "silence", "cut at once")


def answer(server: OpenAIServer, bad: Raw) -> None:
    good = json.dumps({"statements": [STATEMENT]})

    def chosen(body: Body) -> Any:
        return bad if POISON in str(body["messages"]) else good

    server.answer = chosen


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind in QUICK else pytest.mark.slow) for kind in KINDS]
)
def test_one_users_poison_is_no_others_trouble(
    kind: str, server: OpenAIServer, tmp_path: Path
) -> None:
    answer(server, KINDS[kind])
    llm = OpenAIChat(
        "m", base_url=server.url, api_key=SECRET, timeout=0.5, deadline=1.0, max_retries=0
    )
    path = tmp_path / "memory.db"
    with HyMem(path, llm=llm, background=False) as memory:
        memory.add(f"{POISON}, said Ana.", user_id="ana")
        for user in OTHERS:
            memory.add("I like figs.", user_id=user)
        started = time.monotonic()
        memory.flush(all_scopes=True)
        memory.flush(all_scopes=True)
        assert time.monotonic() - started < 20
        for user in OTHERS:
            assert memory.status(user_id=user).events == {"done": 1}
            assert memory.status(user_id=user).units == 1
        assert memory.status(user_id="ana").turns == 1
        assert memory.status(user_id="ana").units == 0
        with suppress(LLMError):  # a text that is no structure may still be a reply
            memory.chat(f"{POISON}?", user_id="ana")
        assert memory.chat("Figs?", user_id="ben").text
    assert SECRET[:12].encode() not in b"".join(
        file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()
    )
