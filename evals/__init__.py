"""Evaluations of HyMem: loaders, metrics, systems under test, runs and reports."""
