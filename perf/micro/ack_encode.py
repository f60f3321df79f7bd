"""An ACK frame of what was received: without a gap, and with 32 ranges."""

from __future__ import annotations

from functools import partial

from perf.kit.twins import Twin
from perf.micro.registry import Benchmark, Timed, repeat

NOW = 1_000_000
EXPONENT = 3
CAPACITY = 1200
RECEIVED = {"one-range": range(100), "32-ranges": range(0, 64, 2)}


def encode(twin: Twin, numbers: range) -> Timed:
    tracker = twin.acks.AckTracker(False, 2, 10, 100, 25_000_000)
    for number in numbers:
        tracker.record(number, 0, True, 0)
    return repeat(tracker.encode, NOW, EXPONENT, CAPACITY)


BENCHMARKS = [Benchmark(f"acks/encode/{name}", partial(encode, numbers=numbers)) for name, numbers in RECEIVED.items()]
