"""Exports: one JSON object a line, written and read back."""
