"""Sentence encoders by themselves."""
