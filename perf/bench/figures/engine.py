"""The whole engine, HTTP/3 and its events included, through its public calls, against the bare cipher."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import Final

from perf.bench.figures.direct import median_of
from perf.bench.pump.client import make_client
from perf.bench.pump.feed import Feed
from perf.bench.pump.pump import Pump
from perf.bench.pump.upload import Upload
from perf.bench.scale import Scale
from perf.bench.table import Row, at_most, missing
from perf.kit import alternate, recording
from perf.kit.bare import BareBurst
from perf.kit.build import NativeUnavailable

RAMP: Final = 2 << 20


def engine_receive(scale: Scale) -> Iterator[Row]:
    """Five calls: a burst in, the body out, acknowledgments out."""
    figure, budget = "engine: receive / bare EVP open", at_most(1.6)
    burst = recording.record(1, recording.BURST)[0]
    try:
        bare = BareBurst(burst)
    except NativeUnavailable as error:
        yield missing(figure, "x", budget, str(error))
        return
    pump = Pump(make_client("specter"), Feed())
    pump.connect()
    pump.ramp(RAMP)

    def engine() -> float:
        """Nanoseconds a byte: now and then a datagram is not full."""
        time = pump.burst()
        return time.nanoseconds / time.size

    size = len(burst.clear.data)
    samples = alternate.rounds(
        {
            "engine": lambda: median_of(engine, scale.bursts),
            "bare": lambda: median_of(bare.open, scale.bursts) / size,
        },
        scale.rounds,
    )
    yield _row(figure, budget.bound, samples)


def engine_send(scale: Scale) -> Iterator[Row]:
    """A piece of request body in, sealed datagrams out; acknowledgments that come back are a row of their own."""
    figure, budget = "engine: send / bare EVP seal", at_most(2.0)
    burst = recording.record(1, recording.BURST)[0]
    try:
        bare = BareBurst(burst)
    except NativeUnavailable as error:
        yield missing(figure, "x", budget, str(error))
        return
    upload = Upload()
    upload.connect()
    upload.ramp(RAMP)
    acknowledged: list[float] = []

    def engine() -> float:
        time = upload.burst()
        acknowledged.append(time.acknowledging / time.packets)
        return time.sending / time.size

    size = len(burst.clear.data)
    samples = alternate.rounds(
        {
            "engine": lambda: median_of(engine, scale.bursts),
            "bare": lambda: median_of(bare.seal, scale.bursts) / size,
        },
        scale.rounds,
    )
    yield _row(figure, budget.bound, samples)
    note = "what the server's ACKs cost, per packet they acknowledge"
    yield Row("engine: acknowledgments of it", median(acknowledged), "ns", None, note)


def _row(figure: str, bound: float, samples: alternate.Samples) -> Row:
    found = alternate.ratio(samples, "engine", "bare")
    per_packet = [median(samples[name]) * recording.SIZE for name in ("engine", "bare")]
    note = f"{per_packet[0]:.0f} ns a packet against {per_packet[1]:.0f}"
    return Row(figure, found.value, "x", at_most(bound), note)
