"""HyMem: long-term memory for LLM chat applications.

>>> from hymem import HyMem
>>> memory = HyMem("chat.db")
>>> memory.add("I moved to Lyon last week.", user_id="ana")
>>> memory.recall("Where does Ana live?", user_id="ana").text

Public names are loaded on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hymem.aio import AsyncHyMem
    from hymem.encoders.langchain import LangChainEncoder
    from hymem.encoders.openai import OpenAIEncoder
    from hymem.encoders.sentence_transformers import SentenceTransformersEncoder
    from hymem.errors import (
        BudgetError,
        EncoderError,
        EncoderMismatchError,
        HyMemError,
        InputError,
        LLMError,
        LLMOutputError,
        NotFoundError,
        PriceError,
        StoreClosedError,
        StoreError,
        StoreVersionError,
    )
    from hymem.llm.langchain import LangChainChat
    from hymem.llm.openai import OpenAIChat
    from hymem.memory import HyMem
    from hymem.offline.extract import OfflineExtractor
    from hymem.read.chat import ChatReply
    from hymem.reembedding import reembed
    from hymem.stores.base import Store
    from hymem.stores.sqlite import SQLiteStore
    from hymem.types import (
        LLM,
        Answer,
        Budget,
        CallCounter,
        Completion,
        Config,
        Context,
        Encoder,
        Event,
        Extractor,
        Filter,
        Hit,
        Message,
        PaidEncoder,
        PaidStage,
        Passage,
        Scope,
        Segmenter,
        Statement,
        TokenCoder,
        Turn,
        Unit,
        Usage,
    )
    from hymem.write.extract import LLMExtractor
    from hymem.write.segment import LLMSegmenter, TopicSegmenter

_HOMES = {
    "aio": ("AsyncHyMem",),
    "read.chat": ("ChatReply",),
    "reembedding": ("reembed",),
    "errors": (
        "BudgetError", "EncoderError", "EncoderMismatchError", "HyMemError", "InputError",
        "LLMError", "LLMOutputError", "NotFoundError", "PriceError", "StoreClosedError",
        "StoreError", "StoreVersionError",
    ),
    "encoders.langchain": ("LangChainEncoder",),
    "encoders.openai": ("OpenAIEncoder",),
    "encoders.sentence_transformers": ("SentenceTransformersEncoder",),
    "llm.langchain": ("LangChainChat",),
    "llm.openai": ("OpenAIChat",),
    "memory": ("HyMem",),
    "offline.extract": ("OfflineExtractor",),
    "stores.base": ("Store",),
    "stores.sqlite": ("SQLiteStore",),
    "write.extract": ("LLMExtractor",),
    "write.segment": ("LLMSegmenter", "TopicSegmenter"),
    "types": (
        "LLM", "Answer", "Budget", "CallCounter", "Completion", "Config", "Context", "Encoder",
        "Event", "Extractor", "Filter", "Hit", "Message", "PaidEncoder", "PaidStage", "Passage",
        "Scope", "Segmenter", "Statement", "TokenCoder", "Turn", "Unit", "Usage",
    ),
}  # fmt: skip
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "LLM",
    "Answer",
    "AsyncHyMem",
    "Budget",
    "BudgetError",
    "CallCounter",
    "ChatReply",
    "Completion",
    "Config",
    "Context",
    "Encoder",
    "EncoderError",
    "EncoderMismatchError",
    "Event",
    "Extractor",
    "Filter",
    "Hit",
    "HyMem",
    "HyMemError",
    "InputError",
    "LLMError",
    "LLMExtractor",
    "LLMOutputError",
    "LLMSegmenter",
    "LangChainChat",
    "LangChainEncoder",
    "Message",
    "NotFoundError",
    "OfflineExtractor",
    "OpenAIChat",
    "OpenAIEncoder",
    "PaidEncoder",
    "PaidStage",
    "Passage",
    "PriceError",
    "SQLiteStore",
    "Scope",
    "Segmenter",
    "SentenceTransformersEncoder",
    "Statement",
    "Store",
    "StoreClosedError",
    "StoreError",
    "StoreVersionError",
    "TokenCoder",
    "TopicSegmenter",
    "Turn",
    "Unit",
    "Usage",
    "reembed",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'hymem' has no attribute {name!r}")
    value = getattr(import_module(f"hymem.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
