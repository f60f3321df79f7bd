"""From a write to sealed datagrams, per datagram: bursts of 1, 16 and 64."""

from __future__ import annotations

from functools import partial

from perf.kit.chains import SendChain
from perf.kit.twins import Twin
from perf.micro.registry import Benchmark, Timed, collect

COUNTS = (1, 16, 64)


def send(twin: Twin, count: int) -> Timed:
    return collect(SendChain(twin, count, group=64 // count).measure)


BENCHMARKS = [Benchmark(f"send/{count}-datagrams", partial(send, count=count), 64) for count in COUNTS]
