"""Training: batches, losses and the loop."""
