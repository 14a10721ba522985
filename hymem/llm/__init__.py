"""Language models behind the ``LLM`` protocol of ``hymem.types``."""
