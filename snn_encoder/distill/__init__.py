"""What the encoder learns from: text, and the teacher's cached vectors of it."""
