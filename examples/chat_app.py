"""A chat application's loop: recall before each model call, add after it.

Needs OPENAI_API_KEY. The model call is the application's own; HyMem only remembers.
"""

from openai import OpenAI

from hymem import HyMem

client = OpenAI()
user, session = "ana", "today"

with HyMem("chat.db") as memory:
    while said := input("> ").strip():
        context = memory.recall(said, user_id=user, max_tokens=800)
        reply = client.chat.completions.create(
            model="gpt-4.1-mini",
            messages=[
                {"role": "system", "content": f"Be kind and brief.\n\n{context.text}"},
                {"role": "user", "content": said},
            ],
        )
        text = reply.choices[0].message.content or ""
        print(text)
        memory.add(
            [{"role": "user", "content": said}, {"role": "assistant", "content": text}],
            user_id=user,
            session_id=session,
        )
    for row in memory.costs(by=("stage", "model"), user_id=user):
        print(row)
