"""Benchmarks of single hot functions with pyperf, both twins side by side."""
