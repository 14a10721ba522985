"""The bundled conversation, its twelve questions and what HyMem makes of them."""
