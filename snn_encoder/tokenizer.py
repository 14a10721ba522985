"""The WordPiece vocabulary of all-MiniLM-L6-v2 (Apache-2.0), shared by all tiers and by HyMem's
token counter. One copy for the whole package."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@cache
def load_tokenizer() -> Tokenizer:
    """The tokenizer without truncation or padding, loaded once per process.

    Treat it as read-only: it is shared between threads, so nobody may enable truncation on it.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(_definition().decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@cache
def vocabulary() -> str:
    """Name and hash of the vocabulary: token ids of unlike ones do not compare."""
    return f"wordpiece-{hashlib.sha256(_definition()).hexdigest()[:12]}"


def _definition() -> bytes:
    return (files("snn_encoder") / "tokenizer.json").read_bytes()
