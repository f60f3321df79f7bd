"""From sealed datagrams to the reader of the body, per datagram: bursts of 1, 16 and 64, on 1 and 100 streams."""

from __future__ import annotations

from functools import cache, partial

from perf.kit import recording
from perf.kit.chains import ReceiveChain
from perf.kit.twins import Twin
from perf.micro.registry import Benchmark, Timed, collect

COUNTS = (1, 16, 64)
STREAMS = (1, 100)
PACKETS = 64 * 64
"""Of the recording, which begins again after them."""

record = cache(recording.record)


def receive(twin: Twin, count: int, streams: int) -> Timed:
    bursts = record(PACKETS // count, count, streams=streams)
    return collect(ReceiveChain(twin, bursts, streams, group=64 // count).measure)


BENCHMARKS = [
    Benchmark(
        f"receive/{count}-datagrams/{streams}-streams",
        partial(receive, count=count, streams=streams),
        64,
    )
    for count in COUNTS
    for streams in STREAMS
]
