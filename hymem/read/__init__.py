"""The read path: a question becomes ranked memories, a block, an answer."""
