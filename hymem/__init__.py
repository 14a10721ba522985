"""HyMem: long-term memory for LLM chat applications."""
