"""Segments in the orders that a network delivers them in, then a read of all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from time import perf_counter

from perf.kit.twins import Twin
from perf.micro.registry import Benchmark, Timed

COUNT = 64
SIZE = 1150
MANY = 10_000
TINY = 16

IN_ORDER = range(0, COUNT * SIZE, SIZE)
ONE_GAP = (*IN_ORDER[1:], 0)
REVERSED = range((MANY - 1) * TINY, -1, -TINY)


def arrive(twin: Twin, offsets: Sequence[int], size: int) -> Timed:
    data = bytes(size)
    total = len(offsets) * size

    def timed(loops: int) -> float:
        spent = 0.0
        for _ in range(loops):
            buffer = twin.reassembly.RecvBuffer(total)
            begin = perf_counter()
            for offset in offsets:
                buffer.receive(offset, data, False)
            whole = buffer.read()
            spent += perf_counter() - begin
            assert len(whole) == total
        return spent

    return timed


BENCHMARKS = [
    Benchmark("reassembly/in-order", partial(arrive, offsets=IN_ORDER, size=SIZE), COUNT),
    Benchmark("reassembly/one-gap", partial(arrive, offsets=ONE_GAP, size=SIZE), COUNT),
    Benchmark("reassembly/reversed-10000", partial(arrive, offsets=REVERSED, size=TINY), MANY),
]
