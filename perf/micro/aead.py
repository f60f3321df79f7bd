"""Packet protection: open and seal of whole packets, header protection and the Python call included."""

from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import Any

from perf.kit.recording import secret
from perf.kit.twins import Twin
from perf.micro.registry import Benchmark, Timed

SUITES = {"aes128": 0x1301, "aes256": 0x1302, "chacha20": 0x1303}
SIZES = (16, 128, 512, 1200, 1400)
PACKETS = 64
HEADER = bytes((0x41,)) + bytes(8) + b"\x00\x01"
"""A short header with a connection id of 8 bytes and a packet number of 2."""
NUMBER_AT = 9
TAG = 16


def plain(size: int) -> bytearray:
    """Return packets one after the other, each with ``size`` bytes of payload and room for the tag."""
    return bytearray(HEADER + bytes(size) + bytes(TAG)) * PACKETS


def spans(size: int) -> list[tuple[int, int, int]]:
    """Return start, packet number offset and end of each."""
    step = len(HEADER) + size + TAG
    return [(start, start + NUMBER_AT, start + step) for start in range(0, PACKETS * step, step)]


def keys(twin: Twin, suite: str) -> Any:
    return twin.protection.PacketProtection(SUITES[suite], secret(SUITES[suite]))


def seal_all(protection: Any, buffer: bytearray, size: int) -> None:
    for start, number_at, end in spans(size):
        protection.seal(buffer, start, number_at, 2, end - TAG, 1)


def seal(twin: Twin, suite: str, size: int) -> Timed:
    protection, buffer = keys(twin, suite), plain(size)

    def timed(loops: int) -> float:
        begin = perf_counter()
        for _ in range(loops):
            seal_all(protection, buffer, size)
        return perf_counter() - begin

    return timed


def unseal(twin: Twin, suite: str, size: int) -> Timed:
    """The buffer is sealed anew, uncounted, before each pass."""
    protection, sealed, places = keys(twin, suite), plain(size), spans(size)
    seal_all(protection, sealed, size)
    buffer = bytearray(sealed)

    def timed(loops: int) -> float:
        spent = 0.0
        for _ in range(loops):
            buffer[:] = sealed
            begin = perf_counter()
            for start, number_at, end in places:
                protection.open(buffer, start, number_at, end, 0)
            spent += perf_counter() - begin
        return spent

    return timed


BENCHMARKS = [
    Benchmark(
        f"aead/{name}/{suite}/{size}",
        partial(function, suite=suite, size=size),
        PACKETS,
    )
    for name, function in (("open", unseal), ("seal", seal))
    for suite in SUITES
    for size in SIZES
]
