"""Retrieval measured: is the evidence in what a system shows?"""
