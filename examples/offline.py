"""Memory with no model, no key and no network: save, search, recall, ask."""

from hymem import HyMem

with HyMem("chat.db", llm=None) as memory:
    memory.add(
        [
            {"role": "user", "name": "Ana", "content": "I moved to Lyon last week."},
            {"role": "assistant", "content": "How do you like it there?"},
            {"role": "user", "name": "Ana", "content": "The bakery downstairs is dangerous."},
        ],
        user_id="ana",
        session_id="2026-03-02",
        timestamp="2026-03-02T09:00",
        wait=True,
    )
    for hit in memory.search("Lyon", user_id="ana"):
        print(f"{hit.score:.2f} {hit.kind}: {hit.text}")
    print(memory.recall("Where does Ana live?", user_id="ana", max_tokens=300).text)
    answer = memory.ask("When did Ana move?", user_id="ana")
    print(answer.text, f"(tier {answer.tier}, mode {answer.mode})")
