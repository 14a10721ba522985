"""The same memory in an asyncio application."""

import asyncio

from hymem import AsyncHyMem


async def main() -> None:
    async with AsyncHyMem("chat.db", llm=None) as memory:
        await memory.add("I am allergic to walnuts.", user_id="ana")
        await memory.add("I am allergic to nothing.", user_id="ben")
        contexts = await asyncio.gather(
            memory.recall("What am I allergic to?", user_id="ana"),
            memory.recall("What am I allergic to?", user_id="ben"),
        )
        for context in contexts:
            print(context.text)


asyncio.run(main())
