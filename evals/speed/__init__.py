"""Time and memory that HyMem takes."""
