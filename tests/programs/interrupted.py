"""Extracts with a model until it is interrupted, as a program of its own: the signal is for all of
it.

    python interrupted.py FILE URL "one scope"|"several scopes"
"""

from __future__ import annotations

import signal
import sys

from hymem import HyMem
from hymem.llm.openai import OpenAIChat


def main(path: str, url: str, way: str) -> None:
    # A job started in the background would ignore it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    llm = OpenAIChat("m", base_url=url, api_key="k")
    memory = HyMem(path, llm=llm, background=False, prices={"m": (0, 0)})
    for number in range(6):
        # Too long to share a call.
        text = f"I like the number {number}. " * 400
        memory.add(text, user_id="ana", session_id=str(number))
    if way == "several scopes":
        memory.add("I like rain.", user_id="ben")
    memory.flush(all_scopes=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
