"""Single functions of the hot path."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from statistics import median
from time import perf_counter_ns, thread_time_ns
from typing import Any, Final

from perf.bench.figures.direct import median_of
from perf.bench.scale import Scale
from perf.bench.table import Row, at_most, missing
from perf.kit import alternate, recording, twins
from perf.kit.build import NativeUnavailable, native
from specter._reference.protection import AES_128_GCM_SHA256, expand_label

REPEATS: Final = 2000
"""Calls behind one value where a call is short."""
SEGMENT: Final = 16
"""Bytes; few, so that it is the algorithm that is measured and not the system handing out fresh pages."""


def header_unmask(scale: Scale) -> Iterator[Row]:
    """Mask, first byte and packet number of each packet of a burst, called from C as the receive path does."""
    figure, budget = "header unmask of a packet", at_most(60)
    try:
        measure = _unmask()
    except (NativeUnavailable, ImportError) as error:
        yield missing(figure, "ns", budget, str(error))
        return
    values = [median_of(measure, scale.bursts) for _ in range(scale.rounds)]
    yield Row(figure, median(values), "ns", budget, "AES-128, the compiled twin, 64 packets a pass")


def _unmask() -> alternate.Measure:
    suite = AES_128_GCM_SHA256
    packets = recording.record(1, recording.BURST)[0].sealed
    key = expand_label(suite, recording.secret(suite), b"quic hp", recording.KEY_SIZES[suite])
    protection = twins.load("compiled").protection.HeaderProtection(suite, key)
    unmask_all = native("unmask").unmask_all
    buffer = bytearray(packets.data)
    offsets = array("q", (start + 1 + len(recording.CID) for start in packets.starts))
    expected = sum(number & 0xFFFF for number in packets.numbers)

    def measure() -> float:
        buffer[:] = packets.data
        begin = perf_counter_ns()
        total = unmask_all(protection, buffer, packets.starts, offsets)
        spent = perf_counter_ns() - begin
        if total != expected:
            raise RuntimeError("the packet numbers came out wrong")
        return spent / len(packets)

    return measure


def padding(scale: Scale) -> Iterator[Row]:
    """Decoding a run of PADDING must not cost by its length."""
    decode = twins.best().frames.decode
    payloads = {"long": bytes(1000), "short": bytes(10)}

    def measure(payload: bytes) -> alternate.Measure:
        return lambda: _time(lambda: decode(payload), REPEATS)

    samples = alternate.rounds({name: measure(payload) for name, payload in payloads.items()}, scale.rounds)
    found = alternate.ratio(samples, "long", "short")
    note = f"{median(samples['long']):.0f} ns against {median(samples['short']):.0f}, the Python call included"
    yield Row("decode 1,000 bytes of PADDING / 10", found.value, "x", at_most(2), note)


def _time(function: Callable[[], Any], count: int) -> float:
    begin = perf_counter_ns()
    for _ in range(count):
        function()
    return (perf_counter_ns() - begin) / count


def reassembly(scale: Scale) -> Iterator[Row]:
    """Segments that arrive last first, all but the last with a gap before them, then the whole is read."""
    few, many = scale.segments, 10 * scale.segments
    samples = alternate.rounds(
        {"many": lambda: _reversed_segments(many), "few": lambda: _reversed_segments(few)}, max(3, scale.rounds // 6)
    )
    found = alternate.ratio(samples, "many", "few")
    each = [median(samples[name]) / count for name, count in (("many", many), ("few", few))]
    note = f"{each[0]:.0f} ns a segment of {SEGMENT} bytes against {each[1]:.0f}, the Python call included"
    yield Row(f"reassembly of {many:,} reversed / {few:,}", found.value, "x", at_most(12), note)


def _reversed_segments(count: int) -> float:
    data = bytes(SEGMENT)
    buffer = twins.best().reassembly.RecvBuffer(count * SEGMENT)
    offsets = range((count - 1) * SEGMENT, -1, -SEGMENT)
    begin = thread_time_ns()  # it takes milliseconds, in which others get their turn
    for offset in offsets:
        buffer.receive(offset, data, False)
    whole = buffer.read()
    spent = thread_time_ns() - begin
    if len(whole) != count * SEGMENT:
        raise RuntimeError("reassembly lost bytes")
    return spent
