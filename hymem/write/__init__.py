"""The write path: what was said becomes events, statements and units."""
