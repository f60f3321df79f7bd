"""The receive and the send chain without the engine around them, against the bare cipher."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Final

from perf.bench.scale import Scale
from perf.bench.table import Budget, Row, at_most, missing
from perf.kit import alternate, recording, twins
from perf.kit.bare import BareBurst
from perf.kit.build import NativeUnavailable
from perf.kit.chains import ReceiveChain, SendChain

RECORDED: Final = 64
"""Bursts of the recording; it begins again after them."""


def receive_burst(scale: Scale) -> Iterator[Row]:
    """A burst of 64 packets from the slab to the reader of the body, against opening the same bytes."""
    bursts = recording.record(RECORDED, recording.BURST)
    chain = ReceiveChain(twins.best(), bursts)
    yield _against_bare("receive burst / bare EVP open", at_most(1.25), chain.measure, "open", scale, bursts[0])


def send_burst(scale: Scale) -> Iterator[Row]:
    """A write and the packing and sealing of 64 packets, against sealing the same bytes."""
    burst = recording.record(1, recording.BURST)[0]
    chain = SendChain(twins.best(), recording.BURST)
    yield _against_bare("send burst / bare EVP seal", at_most(1.4), chain.measure, "seal", scale, burst)


def _against_bare(
    figure: str, budget: Budget, measure: alternate.Measure, operation: str, scale: Scale, burst: recording.Burst
) -> Row:
    try:
        bare = BareBurst(burst)
    except NativeUnavailable as error:
        return missing(figure, "x", budget, str(error))
    floor = bare.open if operation == "open" else bare.seal
    samples = alternate.rounds(
        {"chain": lambda: median_of(measure, scale.bursts), "bare": lambda: median_of(floor, scale.bursts)},
        scale.rounds,
    )
    found = alternate.ratio(samples, "chain", "bare")
    per_packet = [median(samples[name]) / len(burst.sealed) for name in ("chain", "bare")]
    note = f"{per_packet[0]:.0f} ns a packet against {per_packet[1]:.0f}"
    return Row(figure, found.value, "x", budget, note)


def median_of(measure: alternate.Measure, count: int) -> float:
    """Return the median of ``count`` values."""
    return median(measure() for _ in range(count))
