"""Benchmark data: fetched, checked, loaded."""
