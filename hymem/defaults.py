"""What a ``HyMem`` uses where the user brought nothing of their own."""

from __future__ import annotations

import os
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING

from hymem.errors import InputError
from hymem.types import LLM, Encoder, TokenCoder

if TYPE_CHECKING:
    from hymem.stores.base import Store

AUTO = "auto"
DEFAULT_MODEL = "gpt-4.1-mini"


def default_encoder() -> Encoder:
    """The spiking encoder that ships with the package."""
    from snn_encoder import SpikingEncoder

    encoder: Encoder = SpikingEncoder.from_pretrained("small")
    return encoder


def open_store(
    path: str | Path, encoder: Encoder, *, reembed: bool = False, zone: tzinfo | None = None
) -> Store:
    """The SQLite store at ``path`` for this encoder's vectors. ``zone``: see ``SQLiteStore``."""
    from hymem.stores.sqlite import SQLiteStore

    return SQLiteStore(
        str(path),
        encoder_name=encoder.name,
        encoder_version=encoder.version,
        dim=encoder.dim,
        vocabulary=encoder.vocabulary if isinstance(encoder, TokenCoder) else "",
        reembed=reembed,
        zone=zone,
    )


def resolve_llm(llm: LLM | str | None) -> LLM | None:
    """``"auto"`` is OpenAI where its key is set; any other name is a model of the OpenAI API."""
    if llm is None or not isinstance(llm, str):
        return llm
    key = os.environ.get("OPENAI_API_KEY")
    if llm == AUTO and not key:
        return None
    if not key:
        raise InputError(f"llm={llm!r} needs OPENAI_API_KEY in the environment, or pass a client")
    from hymem.llm.openai import OpenAIChat

    return OpenAIChat(DEFAULT_MODEL if llm == AUTO else llm)
