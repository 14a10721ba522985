"""One scope in memory: derived from the tables, and searched in their place."""
