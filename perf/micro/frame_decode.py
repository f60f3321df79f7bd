"""Payloads to frames."""

from __future__ import annotations

from functools import partial

from perf.kit.twins import Twin
from perf.micro.registry import Benchmark, Timed, repeat
from specter._frame_types import MaxData, MaxStreamData, NewConnectionId, Ping, StreamDataBlocked
from specter._reference import frames

STREAM = frames.encode_stream_header(4, 1 << 20, 1100, False) + bytes(1100)
SMALL = b"".join(
    frames.encode(frame)
    for frame in (
        Ping(),
        MaxData(1 << 24),
        MaxStreamData(8, 1 << 20),
        StreamDataBlocked(4, 1 << 20),
        NewConnectionId(3, 1, bytes(8), bytes(16)),
    )
    * 4
)

PAYLOADS = {"stream": STREAM, "small-20": SMALL, "padding-1000": bytes(1000), "padding-10": bytes(10)}


def decode(twin: Twin, payload: bytes) -> Timed:
    return repeat(twin.frames.decode, payload)


BENCHMARKS = [Benchmark(f"frames/decode/{name}", partial(decode, payload=data)) for name, data in PAYLOADS.items()]
