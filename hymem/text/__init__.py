"""Texts as memory needs them: words, tokens, passages, keys, and the block a model reads."""
