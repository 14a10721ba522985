"""Counting tokens: with the bundled MiniLM vocabulary, special tokens left out."""

from __future__ import annotations

from collections.abc import Sequence

# The lines of a memory are counted again at every recall that considers them.
_RECENT_LIMIT = 20_000
_RECENT_CHARACTERS = 2_000
# No call has ever had a hundredth of this.
MOST_TOKENS = 1_000_000_000
_recent: dict[str, int] = {}


def count_tokens(text: str) -> int:
    """Number of WordPiece tokens of ``text``, without the special ones."""
    return count_many([text])[0]


def count_many(texts: Sequence[str]) -> list[int]:
    """``count_tokens`` of each text, in one parallel pass. Recent short texts are remembered."""
    counts = {text: _recent.get(text, -1) for text in texts}
    new = [text for text, count in counts.items() if count < 0]
    if new:
        from snn_encoder.tokenizer import load_tokenizer

        encodings = load_tokenizer().encode_batch(new, add_special_tokens=False)
        counts |= {text: len(found.ids) for text, found in zip(new, encodings, strict=True)}
        if len(_recent) + len(new) > _RECENT_LIMIT:
            _recent.clear()
        _recent.update((text, counts[text]) for text in new if len(text) <= _RECENT_CHARACTERS)
    return [counts[text] for text in texts]


def reported_count(value: object) -> int | None:
    """A number of tokens as somebody else reports it; ``None`` if it cannot be one (negative, no
    whole number, more than ``MOST_TOKENS``), so that it is estimated instead."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= MOST_TOKENS else None
