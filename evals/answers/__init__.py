"""Answers measured: generated, judged, priced, reported."""
