"""HyMem with a local OpenAI-compatible server (Ollama, vLLM, llama.cpp): it answers by itself."""

from hymem import Budget, HyMem, OpenAIChat

llm = OpenAIChat("llama3.2", base_url="http://localhost:11434/v1", api_key="unused")

# It costs nothing, and HyMem takes no model as free unless it is told so.
with HyMem("chat.db", llm=llm, prices={"llama3.2": (0, 0)}) as memory:
    memory.add("My sister Lea starts at the observatory in May.", user_id="ana", wait=True)
    answer = memory.ask(
        "What does Lea do from May on?", user_id="ana", budget=Budget(tokens=20_000)
    )
    print(answer.text, [hit.text for hit in answer.evidence], answer.usage.by_stage)
