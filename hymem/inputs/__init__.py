"""What users hand in, checked."""
