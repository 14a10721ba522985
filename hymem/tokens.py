"""Counting tokens: with the bundled MiniLM vocabulary, special tokens left out."""

from __future__ import annotations

from collections.abc import Sequence


def count_tokens(text: str) -> int:
    """Number of WordPiece tokens of ``text``, without the special ones."""
    return count_many([text])[0]


def count_many(texts: Sequence[str]) -> list[int]:
    """``count_tokens`` of each text, in one parallel pass."""
    from snn_encoder.tokenizer import load_tokenizer

    encodings = load_tokenizer().encode_batch(list(texts), add_special_tokens=False)
    return [len(encoding.ids) for encoding in encodings]
