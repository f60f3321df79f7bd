"""Cython helpers of the benchmarks, compiled on demand into ``.cache/perf``; see ``perf.kit.build``."""
