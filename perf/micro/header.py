"""Header protection: the mask of one packet, the Python call included (the bare cost is in ``perf/bench``)."""

from __future__ import annotations

from functools import partial

from perf.kit.twins import Twin
from perf.micro.registry import Benchmark, Timed, repeat

SAMPLE = bytes(range(16))
KEYS = {
    "aes128": (0x1301, bytes(16)),
    "aes256": (0x1302, bytes(32)),
    "chacha20": (0x1303, bytes(32)),
}


def mask(twin: Twin, suite: str) -> Timed:
    number, key = KEYS[suite]
    return repeat(twin.protection.HeaderProtection(number, key).mask, SAMPLE)


BENCHMARKS = [Benchmark(f"header/mask/{name}", partial(mask, suite=name)) for name in KEYS]
