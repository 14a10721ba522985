"""Experiments with the recipe and their tables; nothing that is shipped depends on them."""
